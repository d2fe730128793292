"""Events as lines: read from the store, filtered, one line each."""

import json
from datetime import UTC, datetime

from pydantic import ValidationError

from clusterctl.connection import Connection
from clusterctl.render.style import Style
from clusterctl.render.table import clean
from reconciler.decide.records import EventRecord
from reconciler.events import severity_of
from reconciler.ports.store import KeyValue

_MARKS = {"warning": "warning", "error": "failed"}  # severity -> state whose mark it gets


async def read_events(connection: Connection) -> list[EventRecord]:
    """All events that the store still keeps, in order of their ids (time). Never raises for an
    event that cannot be read: it is left out."""
    listing = await connection.store.list(
        connection.keys.events, timeout_s=connection.settings.timeout_s
    )
    found = (parse_event(item) for item in listing.items)
    return sorted((event for event in found if event is not None), key=lambda event: event.id)


def parse_event(item: KeyValue) -> EventRecord | None:
    try:
        return EventRecord.from_bytes(item.value)
    except ValidationError:
        return None


def concerns(event: EventRecord, kind: str, name: str) -> bool:
    """The event names this object in one of its fields, or reports on its own server."""
    word = kind.lower()
    fields = event.fields
    if fields.get(word) == name or fields.get("target") == f"{word}/{name}":
        return True
    many = fields.get(f"{word}s")
    if isinstance(many, list) and name in many:
        return True
    if kind == "Server":
        return name in (fields.get("victim"), fields.get("owner"), fields.get("previous_owner"))
    return kind == "Operation" and fields.get("operation") == name


def severity(event: EventRecord) -> str:
    """ "info", "warning" or "error", from the catalogue."""
    return str(severity_of(event.name))


def event_line(event: EventRecord, style: Style) -> str:
    """`2026-11-22 09:14:02.113Z n1 ▲ group_parked group=web reason="…"`; info has no mark."""
    mark = _MARKS.get(severity(event), "")
    at = datetime.fromtimestamp(event.at_wall, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    fields = " ".join(f"{key}={_value(value)}" for key, value in event.fields.items())
    name = clean(event.name)
    shown = style.mark(mark, name) if mark else name
    return f"{at}Z {clean(event.server)} {shown} {clean(fields)}".rstrip()


def _value(value: object) -> str:
    if isinstance(value, str):
        plain = value and not any(c.isspace() or c in "\"'=" for c in value)
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
