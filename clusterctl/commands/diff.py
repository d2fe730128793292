"""`diff`: what apply would change; exit 0 nothing, 1 something, 2 and more an error."""

import asyncio
import json
import sys

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.render.style import Tone

_TONES = {"+": Tone.OK, "-": Tone.FAILED, "~": Tone.WARNING}


@click.command(cls=ClusterCommand)
@click.option("-f", "--file", "paths", multiple=True, metavar="PATH", help="File, directory or -.")
@click.argument("more", nargs=-1, metavar="[PATH]...")
@click.option("--prune", is_flag=True, help="Show what apply --prune would remove.")
@click.option("--source", default="cli", show_default=True, help="Who owns the objects applied.")
@output_option("text", "json")
@click.pass_obj
def command(
    cli: CliContext,
    paths: tuple[str, ...],
    more: tuple[str, ...],
    prune: bool,
    source: str,
    output: str,
) -> ExitCode:
    """Compare files with the cluster, as meant: defaults filled in, order and comments ignored."""
    from specs.load import load, read_sources

    if not paths and not more:
        raise click.UsageError("say what to compare: -f FILE, -f DIRECTORY or -f -")
    types = cli.types()
    given = load(read_sources((*paths, *more), sys.stdin.buffer), types)

    async def work() -> ExitCode:
        from clusterctl.changes import change_lines, changes_json, propose
        from clusterctl.device_rules import check_devices
        from clusterctl.foresight import forecast, forecast_lines
        from clusterctl.picture import read_run

        async with connected(cli) as connection:
            stored, records = await asyncio.gather(
                connection.repository.read(), read_run(connection)
            )
        # Whose objects they are is apply's question; a difference is one all the same.
        proposal = propose(given, stored, types, source=source, prune=prune, force=True)
        for doubt in check_devices(proposal, records.server_facts, records.mirror_status):
            click.echo(str(doubt), err=True)
        if output == "json":
            click.echo(json.dumps(changes_json(proposal.changes), indent=2))
        else:
            for mark, line in change_lines(proposal.changes):
                click.echo(cli.style.plain(cli.style.paint(line, _TONES[mark])))
            equal = len(given.objects) - sum(1 for c in proposal.changes if c.kind != "removed")
            effects = forecast(proposal, records, cli.clock.wall())
            for line in forecast_lines(effects, changed=bool(proposal.changes)):
                click.echo(cli.style.plain(line))
            click.echo(f"{len(proposal.changes)} objects differ, {equal} equal")
        return ExitCode.DIFFERENT if proposal.changes else ExitCode.DONE

    return asyncio.run(work())
