"""Mirrored disks that an apply would make larger, against what their servers say: nothing is
applied that one side could not follow. Called by `device_rules`.

What shrinks or moves by the specs alone is refused before (`specs.volume_rules`).
"""

from collections.abc import Iterator, Mapping

from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import ServerFacts
from reconciler.mirror.metadata import Geometry
from specs.errors import SpecProblem
from specs.resource import Mirror, Resource
from specs.scalars import format_size
from specs.spec_set import LoadedObject, SpecSet

Sides = Mapping[tuple[str, str], MirrorStatus]
"""What each (server, resource) says of its side."""

Facts = Mapping[str, ServerFacts]


def room_of(server: str, name: str, device: str, facts: Facts, sides: Sides) -> int | None:
    """Bytes of a mirror's device: as its engine says now, or else as the server said some minutes
    ago. None: nobody knows."""
    side = sides.get((server, name))
    if side is not None and side.room:
        return side.room
    said = facts.get(server)
    found = said.storage.device(device) if said is not None and said.storage is not None else None
    return found.size if found is not None else None


def largest(rooms: Mapping[str, int | None]) -> str:
    """What fits on all of them, for a sentence; "" when that is not known."""
    known = [room for room in rooms.values() if room is not None]
    if not known or len(known) < len(rooms):
        return ""
    return f"; {format_size(min(known) // 4096 * 4096)} fit on both"


def check_growth(
    specs: SpecSet,
    item: LoadedObject,
    before: Resource,
    resource: Resource,
    facts: Facts,
    sides: Sides,
) -> Iterator[SpecProblem]:
    """Of one mirror that is there already."""
    was, now = before.spec.mirror(), resource.spec.mirror()
    if was is None or now is None:
        return
    name, servers = resource.metadata.name, specs.eligible_servers(resource.spec.group)
    known = [sides[s, name].size for s in servers if (s, name) in sides]
    size = max(known, default=was.size)
    path = ("spec", "size" if "size" in item.model.to_json()["spec"] else "volumes")
    if now.size < size:
        text = f"mirror {name} has {format_size(size)} already: it cannot shrink"
        yield item.problem(path, text, "E0315")
    if now.size <= was.size:
        return
    if getattr(resource.spec, "engine", "own") == "drbd":
        yield item.problem(path, "a mirror with engine: drbd cannot grow yet", "E0316")
    for server in servers:
        device = now.device_on(server)
        if device and room_of(server, name, device, facts, sides) is None:
            text = f"nobody knows how large {device} is on {server}: it must be there first"
            yield item.problem(path, text, "E0316")
    for server in servers if now.two_servers else ():
        said = facts.get(server)
        if said is not None and said.storage is not None:
            yield from _more_room(server, item, min(size, now.size), now, said)


def _more_room(
    server: str, item: LoadedObject, size: int, now: Mirror, said: ServerFacts
) -> Iterator[SpecProblem]:
    """Warnings; files take room only where something is written."""
    storage, more = said.storage, now.size - size
    if storage is None:
        return
    needed = Geometry().file_size(now.size) - Geometry().file_size(size)
    for field, file, bytes_more in (
        ("metadataFile", now.metadata, needed),
        ("size", now.file, more),
    ):
        free = storage.free_at(file) if file else None
        if free is not None and free < bytes_more:
            text = f"{server} has {free} bytes free for {file}, {bytes_more} more are needed"
            yield item.problem(("spec", field), text, "W0612", at="key")
