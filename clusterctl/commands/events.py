"""`events`: what happened, in order of time; `-f` goes on."""

import asyncio
import json
from dataclasses import dataclass

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.picture import close
from clusterctl.render.events import concerns, event_line, parse_event, read_events, severity
from clusterctl.render.style import Style
from reconciler.decide.records import EventRecord


@dataclass(frozen=True, slots=True)
class _Filter:
    since_wall: float
    group: str | None
    server: str | None
    name: str | None
    severe: bool

    def passes(self, event: EventRecord) -> bool:
        if event.at_wall < self.since_wall:
            return False
        if self.group is not None and not concerns(event, "Group", self.group):
            return False
        if self.server is not None and event.server != self.server:
            return concerns(event, "Server", self.server)
        if self.severe and severity(event) == "info":
            return False
        return self.name is None or event.name == self.name


@click.command(cls=ClusterCommand)
@click.option("-f", "--follow", is_flag=True, help="Go on and print new ones as they come.")
@click.option("--since", type=SECONDS, metavar="DURATION", help="Not older than this, as 10m.")
@click.option("--group", metavar="NAME", help="Only those about this group.")
@click.option("--server", metavar="NAME", help="Only those of or about this server.")
@click.option("--name", metavar="EVENT", help="Only this event, as group_granted.")
@click.option("--severe", is_flag=True, help="Only warnings and errors.")
@output_option("text", "json")
@click.pass_obj
def command(
    cli: CliContext,
    follow: bool,
    since: float | None,
    group: str | None,
    server: str | None,
    name: str | None,
    severe: bool,
    output: str,
) -> ExitCode:
    """Show the cluster's events. With -f and -o json each line is one JSON object."""
    begin = cli.clock.wall() - since if since is not None else 0.0
    wanted = _Filter(begin, group, server, name, severe)

    async def work() -> None:
        async with connected(cli) as connection:
            if follow:
                await _follow(connection, wanted, output, cli.style)
                return
            found = [event for event in await read_events(connection) if wanted.passes(event)]
        if output == "json":
            click.echo(json.dumps([_json(event) for event in found], indent=2))
            return
        for event in found:
            click.echo(cli.style.plain(event_line(event, cli.style)))

    asyncio.run(work())
    return ExitCode.DONE


async def _follow(connection: Connection, wanted: _Filter, output: str, style: Style) -> None:
    seen: set[str] = set()
    batches = connection.store.watch(connection.keys.events)
    try:
        async for batch in batches:
            if batch.stale_reason:
                click.echo(f"the store is silent: {batch.stale_reason}", err=True)
            fresh = [parse_event(item) for _, item in batch.changes if item is not None]
            known = [event for event in fresh if event is not None and event.id not in seen]
            for event in sorted(known, key=lambda event: event.id):
                seen.add(event.id)
                if wanted.passes(event):
                    text = (
                        json.dumps(_json(event)) if output == "json" else event_line(event, style)
                    )
                    click.echo(text if output == "json" else style.plain(text))
    finally:
        await close(batches)


def _json(event: EventRecord) -> dict[str, object]:
    shown: dict[str, object] = event.model_dump(mode="json", by_alias=True)
    shown.pop("nonce", None)
    return {**shown, "severity": severity(event)}
