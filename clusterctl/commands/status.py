"""`status`: the whole cluster on one screen, worst first; `--check` is for monitoring systems."""

import asyncio
import json
import sys

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import CheckCode, ExitCode
from clusterctl.failure import explained
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.overview import WORDS, Overview, Severity, overview
from clusterctl.picture import Picture, follow, read_picture
from clusterctl.render.rows import fencing
from clusterctl.render.style import Style
from clusterctl.render.table import clean, since, table
from reconciler.decide.doubt import HEARD

_CHECK = {
    Severity.OK: CheckCode.OK,
    Severity.WARNING: CheckCode.WARNING,
    Severity.CRITICAL: CheckCode.CRITICAL,
}


@click.command(cls=ClusterCommand)
@click.option(
    "--check", is_flag=True, help="One line; exit 0 ok, 1 warning, 2 critical, 3 unknown."
)
@click.option("-w", "--watch", is_flag=True, help="Go on and show each change.")
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, check: bool, watch: bool, output: str) -> int:
    """Show the state of the cluster, its servers and groups, and what needs attention."""
    if check:
        return _check(cli)
    if watch:
        asyncio.run(_watch(cli, output))
        return ExitCode.DONE
    cluster, picture, found = asyncio.run(_read(cli))
    if output == "json":
        click.echo(json.dumps(found.to_json(cluster), indent=2))
        return ExitCode.DONE
    for line in status_lines(cluster, picture, found, cli.style):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


async def _read(cli: CliContext) -> tuple[str, Picture, Overview]:
    async with connected(cli) as connection:
        picture, members = await asyncio.gather(
            read_picture(connection), connection.store.members()
        )
    return connection.settings.cluster, picture, overview(picture, members)


async def _watch(cli: CliContext, output: str) -> None:
    """The screen again at each change; on a terminal in place of the last one."""
    clear = sys.stdout.isatty() and output != "json"
    async with connected(cli) as connection:
        cluster = connection.settings.cluster
        async for picture in follow(connection):
            found = overview(picture, await connection.store.members())
            if output == "json":
                click.echo(json.dumps(found.to_json(cluster)))
                continue
            lines = status_lines(cluster, picture, found, cli.style)
            end = "" if clear else "\n"
            text = "\n".join(cli.style.plain(line) for line in lines)
            click.echo(("\x1b[H\x1b[J" if clear else "") + text + end)


def _check(cli: CliContext) -> int:
    try:
        cluster, _, found = asyncio.run(_read(cli))
    except Exception as error:
        failure = explained(error)
        if failure is None:
            raise
        click.echo(f"UNKNOWN - {' '.join(failure.message.split())}")
        return CheckCode.UNKNOWN
    first = found.attention[0] if found.attention else None
    text = f"{first.subject} {clean(first.text)}" if first else "all groups and servers are well"
    more = f" (and {len(found.attention) - 1} more)" if len(found.attention) > 1 else ""
    click.echo(f"{_CHECK[found.severity].name} - {cluster}: {text}{more}")
    return _CHECK[found.severity]


def status_lines(cluster: str, picture: Picture, found: Overview, style: Style) -> list[str]:
    """The screen; `demo` and `get` of a console show the same."""
    return [
        _headline(cluster, found, style),
        *_attention(found, style),
        "",
        *_servers(picture, found, style),
        "",
        *_groups(picture, found, style),
    ]


def _headline(cluster: str, found: Overview, style: Style) -> str:
    word = WORDS[found.severity]
    online = sum(1 for view in found.servers if view.state == "online")
    answer = sum(1 for member in found.members if member.reachable)
    return "  ".join(
        (
            f"Cluster {cluster}",
            style.mark(word, word.upper()),
            f"{online}/{len(found.servers)} servers",
            f"store {answer}/{len(found.members)}",
            f"specs r{found.revision}",
            f"coordinator {found.coordinator or 'none'}",
        )
    )


def _attention(found: Overview, style: Style) -> list[str]:
    lines = []
    for item in found.attention:
        state = "critical" if item.severity is Severity.CRITICAL else "warning"
        lines.append("  " + style.mark(state, f"{item.subject}: {clean(item.text)}"))
        if item.next_command:
            lines.append(f"      next: {clean(item.next_command)}")
    return lines


def _servers(picture: Picture, found: Overview, style: Style) -> list[str]:
    members = {member.server: member for member in found.members}
    rows = []
    for view in found.servers:
        member = members.get(view.name)
        role = "-" if member is None else "leader" if member.is_leader else "voter"
        rows.append(
            (
                view.name,
                style.mark(view.state),
                role if member is None or member.reachable else style.mark("lost", role),
                ",".join(view.groups) or "-",
                _heartbeats(view.heartbeats or {}, style),
                fencing(picture, view.name, style),
                view.version or "-",
            )
        )
    return table(("SERVER", "STATE", "STORE", "GROUPS", "HEARS", "FENCING", "AGENT"), rows)


def _heartbeats(heartbeats: dict[str, dict[str, str]], style: Style) -> str:
    """`n2 n3`, and the networks on which a peer is not heard."""
    cells = []
    for peer, paths in sorted(heartbeats.items()):
        lost = sorted(network for network, state in paths.items() if state != HEARD)
        if not lost:
            cells.append(peer)
        else:
            cells.append(style.mark("lost", f"{peer}:{'+'.join(lost)}"))
    return " ".join(cells) or "-"


def _groups(picture: Picture, found: Overview, style: Style) -> list[str]:
    rows = [
        (
            view.name,
            style.mark(view.phase),
            view.owner or "-",
            since(view.since_wall, picture.wall),
            str(view.epoch),
            view.previous_owner or "-",
            clean(view.cause) or "-",
        )
        for view in found.groups
    ]
    return table(("GROUP", "STATE", "ON", "SINCE", "EPOCH", "BEFORE", "CAUSE"), rows)
