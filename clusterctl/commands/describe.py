"""`describe`: everything about one object: spec, state with reasons, operations, last events."""

import asyncio
import json
from typing import Any

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import require
from clusterctl.picture import Picture, read_picture
from clusterctl.render.events import concerns, event_line, read_events
from clusterctl.render.rows import NEEDS, document
from clusterctl.render.table import clean
from reconciler.decide.records import EventRecord

_LAST_EVENTS = 10


@click.command(cls=ClusterCommand)
@click.argument("ref", metavar="KIND/NAME")
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, ref: str, output: str) -> ExitCode:
    """Show everything about KIND/NAME."""
    wanted = parse_ref(ref)

    async def work() -> tuple[Picture, list[EventRecord]]:
        async with connected(cli) as connection:
            if wanted.kind != "Operation":
                await require(connection, wanted)
            picture = await read_picture(connection, NEEDS[wanted.kind], cli.types())
            return picture, await read_events(connection)

    picture, events = asyncio.run(work())
    if not picture.exists(wanted):
        raise click.UsageError(f"there is no {wanted.short}")
    shown = document(picture, wanted)
    recent = [event for event in events if concerns(event, wanted.kind, wanted.name)]
    recent = recent[-_LAST_EVENTS:]
    if output == "json":
        shown["events"] = [event.model_dump(mode="json", by_alias=True) for event in recent]
        click.echo(json.dumps(shown, indent=2))
        return ExitCode.DONE
    for line in _lines(picture, wanted, shown, recent, cli):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


def _lines(
    picture: Picture, ref: Ref, shown: dict[str, Any], events: list[EventRecord], cli: CliContext
) -> list[str]:
    status = shown["status"]
    state = status.get("phase") or status.get("state") or ""
    lines = [f"{ref.short}  {cli.style.mark(state)}" if state else ref.short]
    lines += [f"  why: {clean(str(reason))}" for reason in status.get("reasons", ())]
    if status.get("nextCommand"):
        lines.append(f"  next: {clean(status['nextCommand'])}")
    lines += ["", "Status", *_fields(status, 2, skip=("reasons", "nextCommand"))]
    if ref.kind != "Operation":
        lines += ["", f"Spec (r{picture.revision})"]
        lines += [f"  {line}" for line in picture.text(ref).rstrip().splitlines()]
    waiting = picture.records.pending_operations(ref.short)
    if waiting:
        lines += ["", "Operations under way"]
        lines += [f"  {op.id} {op.kind} by {clean(op.who)}: {op.phase}" for op in waiting]
    if events:
        lines += ["", "Last events", *(f"  {event_line(event, cli.style)}" for event in events)]
    return lines


def _fields(value: dict[str, Any], indent: int, skip: tuple[str, ...] = ()) -> list[str]:
    """A document as indented lines; what is empty is left out."""
    lines = []
    for key, item in value.items():
        if key in skip or item is False or item in (None, "", [], {}):
            continue
        pad = " " * indent
        if isinstance(item, dict):
            lines += [f"{pad}{key}:", *_fields(item, indent + 2)]
        elif isinstance(item, list):
            lines.append(f"{pad}{key}:")
            lines += [f"{pad}  - {_one(entry)}" for entry in item]
        else:
            lines.append(f"{pad}{key}: {clean(str(item))}")
    return lines


def _one(entry: Any) -> str:
    if isinstance(entry, dict):
        return ", ".join(
            f"{key} {clean(str(item))}"
            for key, item in entry.items()
            if item is not False and item not in (None, "", [])
        )
    return clean(str(entry))
