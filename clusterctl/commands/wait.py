"""`wait`: until an object is in a state; watches, and gives up early when it cannot come."""

import asyncio
import json

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.objects import Ref, parse_ref
from clusterctl.picture import Picture, follow
from clusterctl.render.rows import NEEDS, document
from clusterctl.render.table import clean
from reconciler.decide.records import Phase

_STATES = {
    "Group": tuple(str(phase) for phase in Phase),
    "Server": ("online", "suspect", "offline", "fenced", "unknown"),
    "Resource": ("active", "inactive", "partial", "failed", "unknown"),
    "Operation": ("pending", "running", "done", "failed"),
}
_ALWAYS = ("exists", "deleted")


@click.command(cls=ClusterCommand)
@click.argument("ref", metavar="KIND/NAME")
@click.option(
    "--for", "wanted", multiple=True, required=True, metavar="STATE", help="May be repeated: any."
)
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=60.0, metavar="DURATION", help="Default 60s."
)
@output_option("text", "json")
@click.pass_obj
def command(
    cli: CliContext, ref: str, wanted: tuple[str, ...], timeout_s: float, output: str
) -> ExitCode:
    """Wait until KIND/NAME is in STATE (a group's phase, a server's state, exists, deleted).

    An object that does not exist yet is waited for. Exit 0 when it is there, 6 when it cannot come
    any more without an operator, 7 when the time is over.
    """
    target = parse_ref(ref)
    known = (*_STATES.get(target.kind, ()), *_ALWAYS)
    for state in wanted:
        if state not in known:
            raise click.UsageError(f"no such state: {state} (known: {', '.join(known)})")

    async def work() -> Picture:
        async with connected(cli) as connection:
            last = [f"{target.short} does not exist"]
            try:
                async with asyncio.timeout(timeout_s):
                    async for picture in follow(connection, NEEDS[target.kind], cli.types()):
                        state, reasons = _state(picture, target)
                        if state in wanted or (state != "deleted" and "exists" in wanted):
                            return picture
                        exists = "does not exist" if state == "deleted" else f"is {state}"
                        last[0] = clean(f"{target.short} {exists}{reasons}")
                        _give_up(picture, target, last[0])
            except TimeoutError:
                text = f"not within {timeout_s:g} s: {last[0]}"
                look = f"clusterctl describe {target.short}"
                raise Failure(text, ExitCode.TIMEOUT, look) from None
        raise Failure("the watch ended", ExitCode.UNREACHABLE)

    picture = asyncio.run(work())
    if output == "json":
        exists = picture.exists(target)
        click.echo(json.dumps(document(picture, target) if exists else {"deleted": True}, indent=2))
    else:
        click.echo(cli.style.plain(f"{target.short} {cli.style.mark(_state(picture, target)[0])}"))
    return ExitCode.DONE


def _state(picture: Picture, ref: Ref) -> tuple[str, str]:
    """(state, its reasons as text); "deleted" when there is no such object."""
    if not picture.exists(ref):
        return "deleted", ""
    status = document(picture, ref)["status"]
    reasons = "; ".join(status.get("reasons", ()))
    return str(status.get("phase") or status.get("state") or "exists"), (
        f" ({reasons})" if reasons else ""
    )


def _give_up(picture: Picture, ref: Ref, text: str) -> None:
    """Raises `Failure` (6) when only a person can change the state."""
    if ref.kind == "Operation" and picture.exists(ref):
        operation = picture.records.operations[ref.name]
        if operation.finished_wall is not None:
            raise Failure(f"it ended: {text} {operation.result}".rstrip(), ExitCode.FAILED)
    if ref.kind == "Resource" and picture.exists(ref) and picture.specs is not None:
        ref = Ref("Group", picture.specs.resources[ref.name].spec.group)
    if ref.kind == "Group" and picture.exists(ref):
        view = picture.group(ref.name)
        if view.needs_person:
            raise Failure(f"needs an operator: {text}", ExitCode.FAILED, view.next_command)
