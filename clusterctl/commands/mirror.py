"""`mirror`: see mirrored disks, copy, compare, and decide which side counts."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.mirrors import KINDS, follow_mirror, in_sync, mirrors_of, read_mirror, view_of
from clusterctl.operations import carry_out, finished, request, wish_options
from clusterctl.picture import Picture, follow, read_picture
from clusterctl.render.mirrors import checked, details, rows
from clusterctl.render.progress import ProgressLine
from reconciler.decide.mirror_view import MirrorView
from reconciler.decide.records import OperationKind, OperationPhase

_SERVER = click.option("--server", metavar="NAME", help="Which side.")
_OTHER = click.option(
    "--server", metavar="NAME", help="Which side (default: the one that does not serve)."
)


@click.group()
def command() -> None:
    """Mirrored disks: see them, copy, compare, and say which side counts."""


def _name(text: str) -> str:
    return text.removeprefix("resource/")


# -- seeing ----------------------------------------------------------------------------------------


@command.command(cls=ClusterCommand, short_help="Show all mirrors, or everything about one.")
@click.argument("name", required=False)
@click.option("-w", "--follow", "watch", is_flag=True, help="Go on and show each change.")
@output_option("text", "json")
@click.pass_obj
def status(cli: CliContext, name: str | None, watch: bool, output: str) -> ExitCode:
    """Show all mirrors, or everything about one: progress, and how old the data of each side is."""

    async def work() -> None:
        async with connected(cli) as connection:
            if not watch:
                _show(cli, await read_picture(connection, KINDS, cli.types()), name, output)
                return
            shown = ""
            async for picture in follow(connection, KINDS, cli.types()):
                shown = _show(cli, picture, name, output, shown)

    asyncio.run(work())
    return ExitCode.DONE


def _show(
    cli: CliContext, picture: Picture, name: str | None, output: str, before: str | None = None
) -> str:
    """The text, which is shown unless it is the one of before."""
    views = [view_of(picture, _name(name))] if name else mirrors_of(picture)
    if output == "json":
        found: Any = views[0].to_json() if name else [view.to_json() for view in views]
        text = json.dumps(found, indent=2 if before is None else None)
    elif name:
        text = _plain(cli, details(views[0], picture.wall, cli.style))
    else:
        lines = rows(views, picture.wall, cli.style) if views else ["no resource is a mirror"]
        text = _plain(cli, lines)
    if text == before:
        return text
    clear = before is not None and output == "text" and sys.stdout.isatty()
    apart = "\n" if before and output == "text" and not clear else ""
    click.echo(("\x1b[H\x1b[J" if clear else apart) + text)
    return text


def _plain(cli: CliContext, lines: list[str]) -> str:
    return "\n".join(cli.style.plain(line) for line in lines)


# -- copying and comparing -------------------------------------------------------------------------


@command.command(cls=ClusterCommand)
@click.argument("name")
@click.option("--full", is_flag=True, help="Copy everything, whatever is known.")
@click.option("--checksum", is_flag=True, help="Compare, and copy what differs.")
@wish_options
@click.pass_obj
def resync(
    cli: CliContext,
    name: str,
    full: bool,
    checksum: bool,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Copy to the other side what it lacks, now. It does so by itself, too, whenever it connects.

    --timeout is for the begin of the copy; the copy itself is waited for as long as it goes on.
    """

    async def done(connection: Connection, _number: str) -> MirrorView:
        def judge(view: MirrorView) -> bool:
            running = view.check is not None
            return not running and in_sync(view)

        return await follow_mirror(
            connection, cli.types(), _name(name), judge, ProgressLine(cli.style), None
        )

    def told(view: MirrorView) -> str:
        return f"{' and '.join(view.holders)} have all data of {view.name}"

    if full and checksum:
        text = "--full copies everything: --checksum has nothing to compare then; give one of them"
        raise Failure(text, ExitCode.USAGE, "clusterctl mirror resync --help")
    how = "full" if full else "checksum" if checksum else "difference"
    kind, fields = OperationKind.MIRROR_RESYNC, {"how": how, "why": why}
    return _wished(cli, kind, name, fields, wait, timeout_s, output, done, told)


@command.command(cls=ClusterCommand)
@click.argument("name")
@wish_options
@click.pass_obj
def verify(
    cli: CliContext, name: str, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Compare both sides while the disk is in use. Exit 1 when they differ."""

    async def done(connection: Connection, number: str) -> MirrorView:
        def judge(view: MirrorView) -> bool:
            found = view.last_check
            return found is not None and found.operation == number and bool(found.ended)

        return await follow_mirror(
            connection, cli.types(), _name(name), judge, ProgressLine(cli.style), None
        )

    def told(view: MirrorView) -> str:
        found = view.last_check
        if found is not None and found.ended != "done":
            raise Failure(f"failed: {checked(view)}", ExitCode.FAILED, _look(name))
        return f"{view.name}: {checked(view)}"

    def code(view: MirrorView) -> ExitCode:
        equal = view.last_check is None or view.last_check.different == 0
        return ExitCode.DONE if equal else ExitCode.DIFFERENT

    kind = OperationKind.MIRROR_VERIFY
    return _wished(cli, kind, name, {"why": why}, wait, timeout_s, output, done, told, code)


class _Rate(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from specs.scalars import parse_size

        if value == "none":
            return 0
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(f"{error}, or none", param, ctx)


@command.command(cls=ClusterCommand, short_help="Bound the copy, until the disk is served anew.")
@click.argument("name")
@click.argument("rate", type=_Rate(), metavar="SIZE|none")
@wish_options
@click.pass_obj
def limit(
    cli: CliContext, name: str, rate: int, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Let the copy use at most SIZE a second (as 50MiB), until the disk is served anew.

    `copyLimit` of the resource is for good.
    """
    fields = {"limit": rate, "why": why}
    return _wished(cli, OperationKind.MIRROR_LIMIT, name, fields, wait, timeout_s, output)


# -- sides -----------------------------------------------------------------------------------------


@command.command(cls=ClusterCommand)
@click.argument("name")
@click.option(
    "--ttl", "for_s", type=SECONDS, default=3600.0, metavar="DURATION", help="Default 1h."
)
@_OTHER
@wish_options
@click.pass_obj
def isolate(
    cli: CliContext,
    name: str,
    for_s: float,
    server: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Let a side stand still as a snapshot, for a backup. It rejoins by itself after the --ttl.

    Meanwhile only the other side has all data: no failover to this one. Read the snapshot without
    changing it: mount -o ro,noload,loop FILE DIRECTORY.
    """
    fields = {"for_s": for_s, "why": why}
    kind = OperationKind.MIRROR_ISOLATE
    return _of_side(cli, kind, name, server, fields, wait, timeout_s, output)


@command.command(cls=ClusterCommand, short_help="End an isolation: the side follows again.")
@click.argument("name")
@_OTHER
@wish_options
@click.pass_obj
def rejoin(
    cli: CliContext,
    name: str,
    server: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """End an isolation: the difference is copied to the side, and it follows again."""
    kind = OperationKind.MIRROR_REJOIN
    return _of_side(cli, kind, name, server, {"why": why}, wait, timeout_s, output)


@command.command(cls=ClusterCommand, short_help="Give up what only one side has.")
@click.argument("name")
@click.option("--server", required=True, metavar="NAME", help="Which side is to be overwritten.")
@wish_options
@click.pass_obj
def discard(
    cli: CliContext,
    name: str,
    server: str,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Give up what only one side has, after a split brain: the other side is copied over it.

    Refused for the side that serves, and for the only one that has all acknowledged data.
    """
    kind = OperationKind.MIRROR_DISCARD
    return _of_side(cli, kind, name, server, {"why": why}, wait, timeout_s, output)


@command.command(cls=ClusterCommand, short_help="Let a side serve that lacks acknowledged data.")
@click.argument("name")
@click.option("--server", required=True, metavar="NAME", help="Which side is to serve.")
@click.option(
    "--accept-data-loss", "accepted", is_flag=True, help="What only the other side has is lost."
)
@wish_options
@click.pass_obj
def promote(
    cli: CliContext,
    name: str,
    server: str,
    accepted: bool,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Let a side serve that lacks acknowledged data, because no other will ever come back.

    Refused while anybody runs the group, and while a server is there that has all data. Who did it
    and why stays in the record and in the events.
    """
    if not accepted:
        raise Failure(
            f"refused: {server} may lack data that was acknowledged",
            ExitCode.REFUSED,
            f"clusterctl mirror promote {_name(name)} --server {server} --accept-data-loss",
        )
    kind = OperationKind.MIRROR_PROMOTE
    return _of_side(cli, kind, name, server, {"why": why}, wait, timeout_s, output)


# -- wishes ----------------------------------------------------------------------------------------

Done = Callable[[Connection, str], Awaitable[MirrorView]]


def _look(name: str) -> str:
    return f"clusterctl mirror status {_name(name)}"


def _of_side(
    cli: CliContext,
    kind: OperationKind,
    name: str,
    server: str | None,
    fields: dict[str, Any],
    wait: bool,
    timeout_s: float,
    output: str,
) -> ExitCode:
    named = server.removeprefix("server/") if server else None
    return _wished(cli, kind, name, {**fields, "to": named}, wait, timeout_s, output)


def _wished(
    cli: CliContext,
    kind: OperationKind,
    name: str,
    fields: dict[str, Any],
    wait: bool,
    timeout_s: float,
    output: str,
    done: Done | None = None,
    told: Callable[[MirrorView], str] | None = None,
    code: Callable[[MirrorView], ExitCode] | None = None,
) -> ExitCode:
    """One wish. With `done` what it began is followed to its end, `told` says what came of it."""

    async def work() -> ExitCode:
        async with connected(cli) as connection:
            view = await read_mirror(connection, cli.types(), _name(name))
            if fields.get("to", "") is None:
                fields["to"] = _other_side(view)
            number = await request(connection, kind, f"resource/{view.name}", **fields)
            if done is None or told is None or not wait:
                return await carry_out(
                    connection, cli, number, wait=wait, timeout_s=timeout_s, output=output
                )
            operation = await finished(connection, number, timeout_s)
            if operation.phase is not OperationPhase.DONE:
                # It has ended: this prints why, and is the exit code.
                return await carry_out(
                    connection, cli, number, wait=True, timeout_s=timeout_s, output=output
                )
            view = await done(connection, number)
            if output == "json":
                click.echo(json.dumps(view.to_json()))
            else:
                result = code(view) if code else ExitCode.DONE
                word = "done" if result is ExitCode.DONE else "warning"
                click.echo(cli.style.plain(cli.style.mark(word, told(view))))
                if result is not ExitCode.DONE and view.next_command:
                    click.echo(f"next: {view.next_command}", err=True)
            return code(view) if code else ExitCode.DONE

    return asyncio.run(work())


def _other_side(view: MirrorView) -> str:
    other = view.other
    if other is None or view.serving is None:
        names = ", ".join(side.server for side in view.sides)
        raise Failure(f"say which side: --server ({names})", ExitCode.USAGE, _look(view.name))
    return other.server
