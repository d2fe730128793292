"""`fence`: power a server off and on, swear that it is off, test its fence device, see how fencing
is."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.objects import Ref
from clusterctl.operations import carry_out, operate, request, require, wish_options
from clusterctl.picture import read_picture, read_run
from clusterctl.render.rows import reason_of
from clusterctl.render.style import Style
from clusterctl.render.table import age, clean, table
from reconciler.decide.records import OperationKind
from reconciler.decide.server_status import ServerView, server_view
from reconciler.decide.store_life import any_boot
from reconciler.decide.stored import StoredRecords

if TYPE_CHECKING:
    from reconciler.ports.power import FenceDevice


class _FenceCommands(click.Group):
    """`fence SERVER` is `fence off SERVER`, unless the word is a command of its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["off", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_FenceCommands)
def command() -> None:
    """Power off a server (fence SERVER --yes-i-mean SERVER), test or confirm it."""


def _meant(server: str, said: str | None, what: str) -> str:
    """The server's name, typed a second time. Raises `Failure` (5)."""
    name = server.removeprefix("server/")
    if said is None and sys.stdin.isatty():
        said = click.prompt(f"{what} Type the server's name to go on", err=True)
    if said != name:
        text = f"refused: {what} Say so by repeating its name with --yes-i-mean {name}"
        raise Failure(text, ExitCode.REFUSED)
    return name


@command.command(cls=ClusterCommand)
@click.argument("server")
@click.option("--yes-i-mean", "said", metavar="SERVER", help="The server's name once more.")
@wish_options
@click.pass_obj
def off(
    cli: CliContext,
    server: str,
    said: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Power SERVER off through its fence device and read back that it is off.

    It stays off, whatever its afterFence says, until it is switched on again: fence on SERVER.
    """
    name = _meant(server, said, f"This powers {server} off at once.")
    return operate(
        cli,
        OperationKind.FENCE,
        Ref("Server", name),
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )


@command.command(cls=ClusterCommand)
@click.argument("server")
@click.pass_obj
def on(cli: CliContext, server: str) -> ExitCode:
    """Switch SERVER on through its fence device, from here; one that is on stays as it is.

    Needs what the device's passwordFrom names on this machine. Refused during a fence of SERVER.
    """
    name = server.removeprefix("server/")

    async def work() -> str:
        async with connected(cli) as connection:
            await require(connection, Ref("Server", name))
            picture = await read_picture(connection, ("Server",), cli.types())
        if running := picture.server(name).fence_in_progress:
            text = f"refused: {name} is being fenced right now ({running})"
            raise Failure(text, ExitCode.REFUSED, "clusterctl fence status")
        fencing = picture.specs.servers[name].spec.fencing if picture.specs else None
        return await _switch_on(cli, name, fencing.levels if fencing else ())

    click.echo(cli.style.plain(cli.style.mark("ok", asyncio.run(work()))))
    return ExitCode.DONE


async def _switch_on(cli: CliContext, server: str, levels: tuple[dict[str, Any], ...]) -> str:
    """By the first level that works. Raises `Failure` with what each of them said."""
    from reconciler.ports.power import FenceError

    said = []
    for level in levels:
        try:
            await _device(cli, level).power_on()
        except (FenceError, OSError) as error:
            said.append(f"{level.get('type')}: {clean(' '.join(str(error).split()))}")
            continue
        return f"{server} is switched on ({level.get('type')})"
    why = "; ".join(said) or "no fence device in its spec"
    raise Failure(f"{server} could not be switched on: {why}", ExitCode.DIFFERENT)


@command.command(cls=ClusterCommand)
@click.argument("server")
@click.option("--yes-i-mean", "said", metavar="SERVER", help="The server's name once more.")
@wish_options
@click.pass_obj
def confirm(
    cli: CliContext,
    server: str,
    said: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Swear that SERVER is powered off, when its fence device cannot prove it.

    If it still runs, two servers will run the same group and data may be lost. Refused while the
    server is heard, has a session, or one of its addresses answers.
    """
    what = f"You swear that the power of {server} is off."
    name = _meant(server, said, what)
    ref = Ref("Server", name)

    async def work() -> ExitCode:
        async with connected(cli) as connection:
            await require(connection, ref)
            records = await read_run(connection)
            boot_id = _boot_to_confirm(name, records)
            operation_id = await request(
                connection, OperationKind.CONFIRM_FENCE, ref.short, boot_id=boot_id, why=why
            )
            return await carry_out(
                connection, cli, operation_id, wait=wait, timeout_s=timeout_s, output=output
            )

    return asyncio.run(work())


def _boot_to_confirm(server: str, records: StoredRecords) -> str:
    """The boot that the proof will hold for. Raises `Failure` (5) while the server is heard."""
    view = server_view(server, records)
    look = f"clusterctl describe server/{server}"
    if server in records.sessions:
        text = (
            f"refused: {server} has a session in the store. If its power is gone, the session ends"
            " by itself within seconds: try again then"
        )
        raise Failure(text, ExitCode.REFUSED, look)
    if view.heard_by:
        text = f"refused: {', '.join(view.heard_by)} still hears {server}; it is not off"
        raise Failure(text, ExitCode.REFUSED, look)
    owned = [own for own in records.groups.values() if own.owner == server and own.boot_id]
    newest = max(owned, key=lambda own: own.since_wall, default=None)
    boot_id = newest.boot_id if newest else view.boot_id
    life = records.store_life
    if life is not None and server in life.doubted:
        boot_id = any_boot(life.generation)
    if not boot_id:
        text = f"refused: no boot of {server} is known, so nothing waits for this"
        raise Failure(text, ExitCode.REFUSED, look)
    return boot_id


@command.command(cls=ClusterCommand)
@click.argument("servers", nargs=-1, metavar="[SERVER]...")
@output_option("text", "json")
@click.pass_obj
def test(cli: CliContext, servers: tuple[str, ...], output: str) -> ExitCode:
    """Log in to the fence device of SERVER (default: of all) from here; no power is changed.

    Exit 1 when one fails. `fence status` shows the tests that the servers make by themselves.
    """
    results = asyncio.run(_test(cli, [name.removeprefix("server/") for name in servers]))
    if output == "json":
        click.echo(json.dumps(results, indent=2))
    else:
        for item in results:
            state = "ok" if item["ok"] else "failed"
            text = f"{item['server']} {item['type']} {clean(str(item['detail']))}"
            click.echo(cli.style.plain(cli.style.mark(state, text)))
    if not results:
        raise Failure("no server has a fence device in its spec", ExitCode.DIFFERENT)
    return ExitCode.DONE if all(item["ok"] for item in results) else ExitCode.DIFFERENT


async def _test(cli: CliContext, names: list[str]) -> list[dict[str, Any]]:
    async with connected(cli) as connection:
        for name in names:
            await require(connection, Ref("Server", name))
        picture = await read_picture(connection, ("Server",), cli.types())
    found = picture.specs.servers if picture.specs else {}
    results = []
    for name, server in found.items():
        if names and name not in names:
            continue
        levels = server.spec.fencing.levels if server.spec.fencing else ()
        if names and not levels:
            text = "no fence device in its spec"
            results.append({"server": name, "type": "-", "ok": False, "detail": text})
        for number, level in enumerate(levels):
            results.append(await _test_level(cli, name, number, dict(level)))
    return results


async def _test_level(
    cli: CliContext, server: str, number: int, level: dict[str, Any]
) -> dict[str, Any]:
    from reconciler.ports.power import FenceError

    shown: dict[str, Any] = {"server": server, "level": number, "type": str(level.get("type"))}
    try:
        result = await _device(cli, level).self_test()
    except (FenceError, OSError) as error:
        return {**shown, "ok": False, "detail": " ".join(str(error).split())}
    return {
        **shown,
        "ok": result.ok,
        "detail": result.detail,
        "guid": result.guid,
        "power": str(result.power) if result.power else None,
        "durationMs": result.duration_ms,
    }


def _device(cli: CliContext, level: dict[str, Any]) -> "FenceDevice":
    """Raises `FenceError` for a level that means nothing here."""
    from pydantic import ValidationError

    from reconciler.plugin import FenceType
    from reconciler.ports.power import FenceError

    model = cli.types().fence_model(str(level.get("type")))
    try:
        made = model.model_validate(level) if model else None
    except ValidationError as error:
        raise FenceError(str(error)) from None
    if not isinstance(made, FenceType):
        raise FenceError("this type is not installed here")
    return made.device(cli.clock)


@command.command(cls=ClusterCommand)
@output_option("text", "json")
@click.pass_obj
def status(cli: CliContext, output: str) -> ExitCode:
    """Show each server's fencing: self-tests from each server, the last fence, one in progress."""

    async def work() -> list[ServerView]:
        async with connected(cli) as connection:
            picture = await read_picture(connection, ("Server",), cli.types())
        return [picture.server(ref.name) for ref in picture.refs("Server")]

    views = asyncio.run(work())
    if output == "json":
        shown = [{"server": view.name, **view.to_json()["fencing"]} for view in views]
        click.echo(json.dumps(shown, indent=2))
        return ExitCode.DONE
    rows = [row for view in views for row in _rows(view, cli.style)]
    for line in table(("SERVER", "DEVICE", "TESTED BY", "RESULT", "LAST FENCE"), rows):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


def _rows(view: ServerView, style: Style) -> list[tuple[str, ...]]:
    last = view.last_fence
    fence = f"{last.outcome} by {last.executor}" if last else "-"
    if view.fence_in_progress:
        fence = style.mark("running", f"in progress, {clean(view.fence_in_progress)}")
    device = ",".join(view.fencing_levels) or "none"
    if not view.tests:
        nothing = style.mark("unknown", "not tested")
        return [(view.name, device, "-", nothing, fence)]
    rows: list[tuple[str, ...]] = []
    for test_view in view.tests:
        when = age(test_view.age_s) if test_view.age_s is not None else "?"
        state = "unknown" if not test_view.live else "ok" if test_view.test.ok else "failed"
        detail = reason_of((test_view.test.detail,))
        text = f"{detail}, {when} ago" + ("" if test_view.live else " (server is away)")
        rows.append((view.name, device, test_view.by, style.mark(state, text), fence))
    return rows
