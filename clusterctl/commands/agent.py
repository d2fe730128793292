"""`agent`: let a server's agent be away for maintenance, end that, and see all agents."""

import asyncio
import json
import socket
from datetime import UTC, datetime

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.objects import Ref
from clusterctl.operations import operate, wish_options
from clusterctl.picture import Picture, read_picture
from clusterctl.render.table import clean, table
from reconciler.decide.records import OperationKind
from reconciler.decide.server_status import ServerView

_SERVER = click.option("--server", metavar="NAME", help="Which server (default: this one).")


@click.group()
def command() -> None:
    """Agents of the servers: hold one for maintenance, release it, see all."""


def _named(server: str | None) -> Ref:
    return Ref("Server", (server or socket.gethostname().split(".")[0]).removeprefix("server/"))


@command.command(cls=ClusterCommand)
@click.option(
    "--until",
    "for_s",
    type=SECONDS,
    required=True,
    metavar="DURATION",
    help="How long from now, as 10m; at most 4h.",
)
@_SERVER
@wish_options
@click.pass_obj
def hold(
    cli: CliContext,
    for_s: float,
    server: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Let the agent of a server be stopped for longer than the dead-man deadline.

    What runs there runs on, also if the server should be cut off meanwhile. It gets nothing new. A
    server whose heartbeats are silent is fenced all the same. The hold ends by itself.
    """
    return operate(
        cli,
        OperationKind.HOLD,
        _named(server),
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
        for_s=for_s,
    )


@command.command(cls=ClusterCommand)
@_SERVER
@wish_options
@click.pass_obj
def release(
    cli: CliContext, server: str | None, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """End a hold before its time."""
    return operate(
        cli,
        OperationKind.RELEASE_HOLD,
        _named(server),
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )


@command.command(cls=ClusterCommand)
@click.argument("server", required=False)
@output_option("text", "json")
@click.pass_obj
def status(cli: CliContext, server: str | None, output: str) -> ExitCode:
    """Show each agent: whether it is there, its version, and its hold."""

    async def work() -> Picture:
        async with connected(cli) as connection:
            return await read_picture(connection)

    picture = asyncio.run(work())
    names = [ref.name for ref in picture.refs("Server")]
    wanted = server.removeprefix("server/") if server else None
    if wanted is not None and wanted not in names:
        raise Failure(
            f"there is no server/{wanted}", ExitCode.USAGE, "clusterctl agent status"
        ) from None
    views = [picture.server(name) for name in names if wanted in (None, name)]
    if output == "json":
        click.echo(json.dumps([_json(picture, view) for view in views], indent=2))
        return ExitCode.DONE
    for line in table(
        ("SERVER", "AGENT", "VERSION", "HOLD", "BY", "WHY"),
        [_row(picture, view, cli) for view in views],
    ):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


def _row(picture: Picture, view: ServerView, cli: CliContext) -> tuple[str, ...]:
    here = view.name in picture.records.sessions
    agent = cli.style.mark("ok" if here else "inactive", "here" if here else "away")
    hold_ = view.hold
    if hold_ is None:
        return (view.name, agent, view.version or "-", "-", "-", "-")
    until = datetime.fromtimestamp(hold_.until_wall, UTC).strftime("until %H:%M:%S UTC")
    word = until if hold_.in_force else f"asked {until}"
    return (view.name, agent, view.version or "-", word, clean(hold_.who), clean(hold_.why) or "-")


def _json(picture: Picture, view: ServerView) -> dict[str, object]:
    return {
        "server": view.name,
        "agent": view.name in picture.records.sessions,
        "version": view.version,
        "hold": view.hold_json(),
    }
