"""Which servers have the data of a group's mirrored disks: the others are no candidates.

The record `run/mirrors/<resource>` decides; what a server says of its own side can only speak
against it. The driver compares the record again before it serves anything, in the transaction that
makes this side the only current one.
"""

from collections.abc import Iterable
from typing import NamedTuple

from reconciler.decide.keys import Keys
from reconciler.decide.membership import session_of
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import MirrorRecord
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import first_epoch, generation
from specs.resource import Resource


class Missing(NamedTuple):
    """A mirrored disk that a server cannot serve, and why."""

    resource: str
    reason: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.reason}"


def missing_copies(snapshot: Snapshot, group: str, servers: Iterable[str]) -> dict[str, Missing]:
    """For each of these servers that must not run the group, the first mirrored disk that it cannot
    serve. A mirror that was never built keeps nobody out."""
    if not (snapshot.mirrors or snapshot.unreadable or generation(snapshot)):
        return {}
    owned = snapshot.ownerships.get(group)
    stopped = owned.record.stopped_resources if owned else ()
    found: dict[str, Missing] = {}
    for name, resource in snapshot.specs.resources_of(group).items():
        if name in stopped:
            continue
        for server in servers:
            reason = why_no_copy(snapshot, resource, server)
            if reason is not None:
                found.setdefault(server, Missing(name, reason))
    return found


def side_of(snapshot: Snapshot, resource: Resource, server: str) -> str | None:
    """What the record calls the side of a mirror that this server would serve; None: there is no
    mirror."""
    group = snapshot.specs.groups.get(resource.spec.group)
    within = [
        name
        for name in (group.spec.server_groups if group else None) or ()
        if (found := snapshot.specs.server_groups.get(name)) and server in found.spec.servers
    ]
    return resource.spec.side_of(server, within)


def why_no_copy(snapshot: Snapshot, resource: Resource, server: str) -> str | None:
    """Why this server cannot serve the resource's data now; None if nothing speaks against it."""
    side = side_of(snapshot, resource, server)
    if side is None:
        return None
    name = resource.metadata.name
    if Keys(snapshot.specs.cluster.metadata.name).mirror(name) in snapshot.unreadable:
        return "the record of who has its data cannot be read by this version"
    if is_unsettled(snapshot, name):
        return "who has its data is not settled since the store was restored from a backup"
    stored = snapshot.mirrors.get(name)
    if stored is None:
        return None
    if side not in stored.record.servers:
        return _stale(stored.record)
    status = mirror_status(snapshot, server, name)
    return (status.unfit or None) if status is not None else None


def is_of_before(snapshot: Snapshot, record: MirrorRecord) -> bool:
    """Written before the store was restored from a backup: it says who had the data at that time
    (`settling`)."""
    return record.epoch < first_epoch(snapshot)


def is_unsettled(snapshot: Snapshot, name: str) -> bool:
    """Since the store was restored nobody knows who has all data of this mirror: the record is of
    before, or there is none although a server has a side that was served."""
    stored = snapshot.mirrors.get(name)
    if stored is not None:
        return is_of_before(snapshot, stored.record)
    if generation(snapshot) == 0:
        return False
    servers = [server for server, mirror in snapshot.mirror_status if mirror == name]
    return any(_was_served(mirror_status(snapshot, server, name)) for server in servers)


def _was_served(status: MirrorStatus | None) -> bool:
    if status is None or not (status.engine or status.at_rest):
        return False
    return not status.fresh and status.generation != ""


def _stale(record: MirrorRecord) -> str:
    holders = " and ".join(record.servers)
    return f"only {holders} {'have' if len(record.servers) > 1 else 'has'} all acknowledged data"


def mirror_status(snapshot: Snapshot, server: str, resource: str) -> MirrorStatus | None:
    """What the server's present boot says of its side; None when it says nothing."""
    status, session = snapshot.mirror_status.get((server, resource)), session_of(snapshot, server)
    if status is None or session is None or status.boot_id != session.record.boot_id:
        return None
    return status
