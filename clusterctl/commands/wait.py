"""`wait`: until an object is in a state; watches, and gives up early when it cannot come."""

import asyncio
import json
from collections.abc import AsyncGenerator

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
LASTING_S = 2.0  # a state that needs a person counts once it has lasted this long
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
            watched = Watched(target, frozenset(wanted))
            pictures = follow(connection, NEEDS[target.kind], cli.types())
            try:
                async with asyncio.timeout(timeout_s):
                    return await watched.until_met(pictures)
            except TimeoutError:
                text = f"not within {timeout_s:g} s: {watched.last}"
                look = f"clusterctl describe {target.short}"
                raise Failure(text, ExitCode.TIMEOUT, look) from None

    picture = asyncio.run(work())
    if output == "json":
        exists = picture.exists(target)
        click.echo(json.dumps(document(picture, target) if exists else {"deleted": True}, indent=2))
    else:
        click.echo(cli.style.plain(f"{target.short} {cli.style.mark(_state(picture, target)[0])}"))
    return ExitCode.DONE


class Watched:
    """One object over time. Only a state that lasts is final: a coordinator may say *blocked* for a
    moment between two attempts."""

    def __init__(self, target: Ref, wanted: frozenset[str]) -> None:
        self._target = target
        self._wanted = wanted
        self.last = f"{target.short} is not known yet"

    async def until_met(self, pictures: AsyncGenerator[Picture, None]) -> Picture:
        """The first picture that meets it. Raises `Failure` (6) when only a person can help."""
        final: Failure | None = None
        upcoming: asyncio.Future[Picture] | None = None
        loop = asyncio.get_running_loop()
        give_up_at = 0.0
        try:
            while True:
                upcoming = upcoming or asyncio.ensure_future(anext(pictures))
                left = max(0.0, give_up_at - loop.time()) if final else None
                done, _ = await asyncio.wait({upcoming}, timeout=left)
                if not done and final is not None:
                    raise final
                picture, upcoming = upcoming.result(), None
                if self._met(picture):
                    return picture
                before, final = final, _hopeless(picture, self._target, self.last)
                if final is not None and before is None:
                    give_up_at = loop.time() + LASTING_S
        finally:
            if upcoming is not None:
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
            await pictures.aclose()

    def _met(self, picture: Picture) -> bool:
        state, reasons = _state(picture, self._target)
        exists = "does not exist" if state == "deleted" else f"is {state}"
        self.last = clean(f"{self._target.short} {exists}{reasons}")
        return state in self._wanted or (state != "deleted" and "exists" in self._wanted)


def _state(picture: Picture, ref: Ref) -> tuple[str, str]:
    """(state, its reasons as text); "deleted" when there is no such object."""
    if not picture.exists(ref):
        return "deleted", ""
    status = document(picture, ref)["status"]
    reasons = "; ".join(status.get("reasons", ()))
    return str(status.get("phase") or status.get("state") or "exists"), (
        f" ({reasons})" if reasons else ""
    )


def _hopeless(picture: Picture, ref: Ref, text: str) -> Failure | None:
    """The failure (6) that it is when only a person can change the state; else None."""
    if not picture.exists(ref):
        return None
    if ref.kind == "Operation":
        operation = picture.records.operations[ref.name]
        if operation.finished_wall is None:
            return None
        return Failure(f"it ended: {text} {operation.result}".rstrip(), ExitCode.FAILED)
    if ref.kind == "Resource" and picture.specs is not None:
        ref = Ref("Group", picture.specs.resources[ref.name].spec.group)
    if ref.kind != "Group" or not picture.group(ref.name).needs_person:
        return None
    next_command = picture.group(ref.name).next_command
    return Failure(f"needs an operator: {text}", ExitCode.FAILED, next_command)
