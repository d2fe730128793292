"""`doctor`: what could make the next failover fail or wait; -o json is for cron."""

import asyncio
import json
from collections.abc import Sequence

import click

from clusterctl.connection import CliContext, connected
from clusterctl.examination import Case, Check, Result, examine
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.picture import read_picture
from clusterctl.render.style import Style
from clusterctl.render.table import clean, table

_KINDS = ("Cluster", "Server", "ServerGroup", "Group", "Resource")
_MARKS = {Result.PASS: "ok", Result.WARN: "warning", Result.FAIL: "critical"}
_ORDER = (Result.FAIL, Result.WARN, Result.PASS)


@click.command(cls=ClusterCommand)
@click.option("--all", "everything", is_flag=True, help="Show what passed, too.")
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, everything: bool, output: str) -> ExitCode:
    """Check whether the next failover would work: quorum, fencing, timing, paths, clocks.

    Exit 1 when a check fails, else 0.
    """
    checks = asyncio.run(_examine(cli))
    failed = any(check.result is Result.FAIL for check in checks)
    if output == "json":
        click.echo(json.dumps([check.to_json() for check in checks], indent=2))
    else:
        for line in _lines(checks, everything, cli.style):
            click.echo(cli.style.plain(line))
    return ExitCode.DIFFERENT if failed else ExitCode.DONE


async def _examine(cli: CliContext) -> tuple[Check, ...]:
    async with connected(cli) as connection:
        picture, members = await asyncio.gather(
            read_picture(connection, _KINDS, cli.types()), connection.store.members()
        )
    if picture.specs is None:
        raise ValueError("specs were asked for")
    return examine(Case(picture.specs, picture.records, members, picture.revision, picture.wall))


def _lines(checks: Sequence[Check], everything: bool, style: Style) -> list[str]:
    counts = {result: sum(check.result is result for check in checks) for result in _ORDER}
    head = f"{counts[Result.FAIL]} failed, {counts[Result.WARN]} warnings, "
    head += f"{counts[Result.PASS]} passed"
    shown = [
        check
        for result in _ORDER
        for check in checks
        if check.result is result and (everything or result is not Result.PASS)
    ]
    rows = [
        (
            style.mark(_MARKS[check.result], check.result.value),
            check.id,
            check.subject,
            clean(check.reason),
            clean(check.next_command),
        )
        for check in shown
    ]
    if not rows:
        return [f"{head}: {style.mark('ok', 'ready for a failover')}"]
    return [head, "", *table(("RESULT", "CHECK", "OF", "REASON", "NEXT"), rows)]
