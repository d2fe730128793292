"""`why`: the last decision about an object, its reasons, and how it came to it."""

import asyncio
import json

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import require
from clusterctl.picture import Picture, read_picture
from clusterctl.render.events import read_events
from clusterctl.render.rows import NEEDS
from clusterctl.render.why import why_lines
from reconciler.decide.explanation import (
    Explanation,
    explain_group,
    explain_monitor,
    explain_resource,
    explain_server,
)
from reconciler.decide.records import EventRecord

KINDS = ("Group", "Resource", "Server", "Monitor")


@click.command(cls=ClusterCommand)
@click.argument("ref", metavar="KIND/NAME")
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, ref: str, output: str) -> ExitCode:
    """Explain the state of a group, resource, server or monitor by the last decision about it."""
    wanted = parse_ref(ref)
    if wanted.kind not in KINDS:
        kinds = ", ".join(kind.lower() for kind in KINDS)
        raise click.UsageError(f"nothing is decided about {wanted.short} (kinds: {kinds})")

    async def work() -> tuple[Picture, list[EventRecord]]:
        async with connected(cli) as connection:
            await require(connection, wanted)
            picture = await read_picture(connection, NEEDS[wanted.kind], cli.types())
            return picture, await read_events(connection)

    told = explained(wanted, *asyncio.run(work()))
    if output == "json":
        click.echo(json.dumps(told.to_json(), indent=2))
        return ExitCode.DONE
    for line in why_lines(told, cli.style):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


def explained(ref: Ref, picture: Picture, events: list[EventRecord]) -> Explanation:
    """The explanation of one object; the picture has the specs of its kind."""
    if ref.kind == "Group":
        return explain_group(ref.name, picture.records, events)
    if ref.kind == "Server":
        return explain_server(ref.name, picture.records, events)
    if ref.kind == "Monitor":
        return explain_monitor(ref.name, picture.records, events)
    specs = picture.specs
    group = specs.resources[ref.name].spec.group if specs else ""
    return explain_resource(ref.name, group, picture.records, events)
