"""Disks of specs against what the servers say of theirs: used by something else, too small, not
there. Called by `apply` and `diff` for what an apply would change.

What no server says is a warning: facts are up to five minutes old, and a server may be away.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from clusterctl.changes import Proposal
from clusterctl.growth_rules import Sides, check_growth, largest, room_of
from clusterctl.mirrors import sides_of
from reconciler.decide.records import ServerFacts
from reconciler.decide.storage_facts import StorageFacts
from reconciler.mirror.metadata import Geometry
from reconciler.mirror.settings import SHARED_METADATA
from specs.check import errors_of
from specs.errors import SpecErrors, SpecProblem
from specs.resource import Mirror, Resource, Use
from specs.spec_set import LoadedObject, ObjectRef, SpecSet


def check_devices(
    proposal: Proposal, facts: Mapping[str, ServerFacts], sides: Sides
) -> tuple[SpecProblem, ...]:
    """Warnings of what an apply would change, in order of file and line. Raises `SpecErrors` with
    all errors, if there are any."""
    specs, found = proposal.new, list[SpecProblem]()
    for name, resource in specs.resources.items():
        ref, group = ObjectRef("Resource", name), resource.spec.group
        if str(ref) not in proposal.texts or group not in specs.groups or not resource.spec.uses():
            continue
        for server in specs.eligible_servers(group):
            said = facts.get(server)
            storage = said.storage if said is not None else None
            found += _on(server, specs, specs.objects[ref], resource, storage)
            found += _too_small(server, specs, resource, facts, sides)
            mirror = resource.spec.mirror()
            if storage is not None and mirror is not None and ref not in proposal.old.objects:
                found += _room(server, specs.objects[ref], mirror, storage)
        if (before := proposal.old.resources.get(name)) is not None:
            found += check_growth(specs, specs.objects[ref], before, resource, facts, sides)
    found.sort(key=lambda p: (p.file, p.line, p.column, p.path, p.code, p.message))
    if errors := errors_of(found):
        raise SpecErrors(*errors)
    return tuple(found)


def _devices(server: str, specs: SpecSet, resource: Resource) -> list[Use]:
    """Those that the server has: of a hybrid disk only that of its own server group."""
    shared = resource.spec.shared_disk(sides_of(specs, resource.metadata.name).get(server, ""))
    devices = [use for use in resource.spec.uses() if use.name.startswith("/dev/")]
    own = [use for use in devices if use.server in ("", server)]
    return [use for use in own if shared in ("", use.name)]


def _on(
    server: str,
    specs: SpecSet,
    item: LoadedObject,
    resource: Resource,
    facts: StorageFacts | None,
) -> Iterator[SpecProblem]:
    devices = _devices(server, specs, resource)
    points = [use for use in resource.spec.uses() if use.is_mount_point]
    if facts is None:
        if devices:
            path, text = devices[0].path, f"{server} has not said which devices it has"
            yield item.problem(path, f"{text}: nothing was checked there", "W0611")
        return
    for use in devices:
        mounted = [f"mounted on {point.name}" for point in points]
        yield from _device(server, item, use, mounted, facts)
    for point in points:
        if posixpath.normpath(point.name) in facts.fstab:
            text = f"{server} mounts {point.name} by itself at its start (/etc/fstab): two would"
            yield item.problem(point.path, f"{text} mount it", "E0312")


def _device(
    server: str,
    item: LoadedObject,
    use: Use,
    own: Sequence[str],
    facts: StorageFacts,
) -> Iterator[SpecProblem]:
    device = facts.device(use.name)
    if device is None:
        text = f"{server} knows no device {use.name}"
        text += "" if use.server else "; it needs the same name on each server"
        yield item.problem(use.path, text, "W0611")
        return
    if device.use and device.use not in own:
        text = f"{use.name} is {device.use} on {server}"
        yield item.problem(use.path, text, "E0312")


def _too_small(
    server: str, specs: SpecSet, resource: Resource, facts: Mapping[str, ServerFacts], sides: Sides
) -> Iterator[SpecProblem]:
    """A device of a mirror, with what would fit on both servers."""
    mirror, name = resource.spec.mirror(), resource.metadata.name
    if mirror is None:
        return
    servers = specs.eligible_servers(resource.spec.group)
    needed = mirror.size + (SHARED_METADATA if resource.spec.mirrored_groups() else 0)
    for use in _devices(server, specs, resource):
        known = sides if mirror.two_servers else {}
        disks = {s: mirror.device_on(s) or use.name for s in servers}
        rooms = {s: room_of(s, name, disks[s], facts, known) for s in servers}
        room = rooms[server]
        if room is not None and room < needed:
            text = f"{use.name} has {room} bytes on {server}, size says {mirror.size}"
            if needed > mirror.size:
                text += f" and the mirror itself takes {SHARED_METADATA}"
            text += largest(rooms) if mirror.two_servers else ""
            item = specs.objects[ObjectRef("Resource", name)]
            yield item.problem(("spec", "size"), text, "E0313")


def _room(
    server: str, item: LoadedObject, mirror: Mirror, facts: StorageFacts
) -> Iterator[SpecProblem]:
    """For files of a new mirror; those of an old one take their room already."""
    if not mirror.two_servers:
        return
    needed = Geometry().file_size(mirror.size)
    history = mirror.queue_limit if mirror.asynchronous else 0
    free = facts.free_at(mirror.metadata)
    if free is not None and free < needed + history:
        text = f"{server} has {free} bytes for {mirror.metadata}, {needed + history} are needed"
        yield item.problem(("spec", "metadataFile"), text, "W0612", at="key")
    free = facts.free_at(mirror.file) if mirror.file else None
    if free is not None and free < mirror.size:
        text = f"{server} has {free} bytes free for {mirror.file}, size says {mirror.size}"
        yield item.problem(("spec", "size"), text, "W0612")
