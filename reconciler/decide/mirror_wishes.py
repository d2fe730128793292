"""Operators' wishes about a mirrored disk: which server carries one out, and what comes of it.

The coordinator names the server (`to`), that server's agent asks its engine and says in its status
what came of it (`loops.mirror_care`), and the coordinator ends the wish. Only a promotion that
gives data up changes the record of who has all data; nobody runs the group then.
"""

from dataclasses import dataclass

from reconciler.decide.actions import Reason, Write
from reconciler.decide.copies import is_unsettled, mirror_status, side_of
from reconciler.decide.keys import Keys
from reconciler.decide.membership import Standing, standing, unreadable
from reconciler.decide.mirror_status import MirrorResult, MirrorStatus
from reconciler.decide.placement import availability, listed_servers
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import (
    MirrorRecord,
    Operation,
    OperationKind,
    OperationPhase,
)
from reconciler.decide.shared_sides import holder
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import first_epoch
from specs.resource import STANDBY_SUFFIX, Resource

BY_OWNER = (
    OperationKind.MIRROR_RESYNC,
    OperationKind.MIRROR_VERIFY,
    OperationKind.MIRROR_LIMIT,
)
"""The side that serves does it; the others name their server."""

MIRROR_KINDS = (
    *BY_OWNER,
    OperationKind.MIRROR_ISOLATE,
    OperationKind.MIRROR_REJOIN,
    OperationKind.MIRROR_DISCARD,
    OperationKind.MIRROR_PROMOTE,
)
LONGEST_ISOLATION_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class MirrorStep:
    """`result` (ok, sentence) ends the wish, `to` begins it on that server; neither: it goes on.
    `record` is stored together with a good result."""

    result: tuple[bool, str] | None = None
    to: str | None = None
    record: Write | None = None


def mirror_step(snapshot: Snapshot, keys: Keys, operation: Operation) -> MirrorStep:
    """The next step of one wish. Pending: refuse or begin; running: look for what came of it."""
    name = operation.target.removeprefix("resource/")
    resource = snapshot.specs.resources.get(name)
    if resource is None:
        return _refused(f"there is no resource {name}")
    group = resource.spec.group
    problem = unreadable(snapshot, keys.mirror(name), keys.group(group), keys.release(group))
    if problem is not None:
        return _refused(problem)
    listed = _sides(snapshot, resource)
    if not listed:
        return _refused(f"resource {name} is no mirrored disk")
    if operation.phase is not OperationPhase.PENDING:
        return _progress(snapshot, keys, operation, resource)
    to = _owner(snapshot, group) if operation.kind in BY_OWNER else operation.to
    if to is None:
        serve = f"nobody serves {name}: group {group} is not running"
        return _refused(serve if operation.kind in BY_OWNER else "it must name a server")
    if to not in listed:
        return _refused(f"{to} has no side of {name}; {' and '.join(listed)} have")
    refusal = _why_not(snapshot, operation, resource, to)
    return _refused(refusal) if refusal is not None else MirrorStep(to=to)


def _refused(text: str) -> MirrorStep:
    return MirrorStep(result=(False, text))


def _sides(snapshot: Snapshot, resource: Resource) -> list[str]:
    group = snapshot.specs.groups.get(resource.spec.group)
    servers = listed_servers(snapshot, group.spec) if group is not None else []
    return [s for s in servers if side_of(snapshot, resource, s) is not None]


def _owner(snapshot: Snapshot, group: str) -> str | None:
    """Who runs the group, or may still."""
    stored = snapshot.ownerships.get(group)
    if stored is None or stored.record.owner is None:
        return None
    return None if proof_of_stop(snapshot, stored.record) is not None else stored.record.owner


def _why_not(snapshot: Snapshot, operation: Operation, resource: Resource, to: str) -> str | None:
    where = standing(snapshot, to)
    if where is not Standing.ONLINE:
        return f"{to} is {where.value}"
    name, group = resource.metadata.name, resource.spec.group
    if group in snapshot.specs.pairings and (has := holder(snapshot, group, to)) != to:
        if has is not None:
            return f"{has} has the disk that {to} shares: name that server"
        move = f"clusterctl move group/{group}{STANDBY_SUFFIX} --to {to}"
        return f"nobody has the disk of {to} now; while nobody serves {name}: {move}"
    serves = _owner(snapshot, group) == to
    if operation.kind is OperationKind.MIRROR_ISOLATE:
        if not 0 < (operation.for_s or 0.0) <= LONGEST_ISOLATION_S:
            return f"an isolation lasts at most {LONGEST_ISOLATION_S / 86400:.0f} days"
        return f"{to} serves {name}; isolate the other side" if serves else None
    if operation.kind in (OperationKind.MIRROR_RESYNC, OperationKind.MIRROR_VERIFY):
        return _isolated(snapshot, resource)
    if operation.kind is OperationKind.MIRROR_DISCARD:
        return _why_not_discard(snapshot, resource, to, serves)
    if operation.kind is OperationKind.MIRROR_PROMOTE:
        return _why_not_promote(snapshot, resource, to)
    return None


def _isolated(snapshot: Snapshot, resource: Resource) -> str | None:
    """A snapshot is neither copied to nor compared."""
    name = resource.metadata.name
    for server in _sides(snapshot, resource):
        status = mirror_status(snapshot, server, name)
        if status is not None and status.engine and status.isolated:
            rejoin = f"clusterctl mirror rejoin {name} --server {server}"
            return f"{server} stands still as a snapshot: {rejoin}"
    return None


def _why_not_discard(snapshot: Snapshot, resource: Resource, to: str, serves: bool) -> str | None:
    name, stored = resource.metadata.name, snapshot.mirrors.get(resource.metadata.name)
    status = mirror_status(snapshot, to, name)
    if serves:
        return f"{to} serves {name}: its data cannot be given up; discard the other side"
    known = stored is not None and not is_unsettled(snapshot, name)
    holders = stored.record.servers if stored is not None and known else ()
    if holders == (side_of(snapshot, resource, to),):
        return f"only {to} has all acknowledged data of {name}"
    if side_of(snapshot, resource, to) in holders and status is not None and status.connected:
        return f"{to} follows, and has nothing that the other side lacks"
    return None


def _why_not_promote(snapshot: Snapshot, resource: Resource, to: str) -> str | None:
    """Data is given up only when nothing else is left: nobody runs the group, and no server that
    has all of it is there."""
    name, group = resource.metadata.name, resource.spec.group
    if (owner := _owner(snapshot, group)) is not None:
        return f"{owner} owns group {group} and is not proven stopped"
    stored = snapshot.mirrors.get(name)
    unsettled = is_unsettled(snapshot, name)
    if stored is None and not unsettled:
        return f"{name} was never served: clusterctl start group/{group}"
    holders = () if stored is None or unsettled else stored.record.servers
    for server in _sides(snapshot, resource):
        status = mirror_status(snapshot, server, name)
        unfit = status is not None and bool(status.unfit)
        holds = side_of(snapshot, resource, server) in holders
        if holds and not unfit and availability(snapshot, server) is None:
            start = f"clusterctl start group/{group}; drain {server} first if its disk is gone"
            return f"{server} is there and has all data: {start}"
    status = mirror_status(snapshot, to, name)
    return _why_not_this_side(status, to)


def _why_not_this_side(status: MirrorStatus | None, to: str) -> str | None:
    if status is None or not status.engine:
        return f"the engine of {to} does not say what it has"
    if status.fresh:
        return f"nothing was ever copied to {to}"
    if not status.consistent:
        return f"{to} is the unfinished target of a copy: what it has fits no moment"
    return None


def _progress(
    snapshot: Snapshot, keys: Keys, operation: Operation, resource: Resource
) -> MirrorStep:
    name, to = resource.metadata.name, operation.to or ""
    status = mirror_status(snapshot, to, name)
    told = (
        next((r for r in status.results if r.operation == operation.id), None) if status else None
    )
    if told is None:
        where = standing(snapshot, to)
        gone = where not in (Standing.ONLINE, Standing.SUSPECT)
        return _refused(f"{to} is {where.value} now; ask again") if gone else MirrorStep()
    if not told.ok or operation.kind is not OperationKind.MIRROR_PROMOTE:
        return MirrorStep(result=(told.ok, told.text))
    refusal = _why_not_promote(snapshot, resource, to)
    if refusal is not None:
        return _refused(refusal)
    record = _forced(snapshot, keys, operation, resource, told)
    return MirrorStep(result=(True, _promoted(snapshot, resource, to)), record=record)


def _promoted(snapshot: Snapshot, resource: Resource, to: str) -> str:
    stored = snapshot.mirrors.get(resource.metadata.name)
    lost = " and ".join(stored.record.servers) if stored else "another side"
    return f"{to} may serve {resource.metadata.name}; what only {lost} had is given up"


def _forced(
    snapshot: Snapshot, keys: Keys, operation: Operation, resource: Resource, told: MirrorResult
) -> Write:
    """The record as an operator wants it. It compares that nobody got the group meanwhile."""
    name, group = resource.metadata.name, resource.spec.group
    stored, side = snapshot.mirrors.get(name), side_of(snapshot, resource, operation.to or "") or ""
    given_up = stored.record.servers if stored else ()
    owned, release = snapshot.ownerships.get(group), snapshot.releases.get(group)
    epoch = owned.record.epoch if owned else 0
    record = MirrorRecord(
        resource=name,
        servers=(side,),
        generation=told.generation,
        epoch=max(epoch, stored.record.epoch if stored else 0, first_epoch(snapshot)),
        at_wall=snapshot.wall,
        forced_by=operation.who,
        forced_why=operation.why,
        forced_wall=snapshot.wall,
        given_up=given_up,
    )
    reason = Reason.of(
        "mirror_forced",
        resource=name,
        group=group,
        server=operation.to,
        given_up=list(given_up),
        generation=told.generation,
        who=operation.who,
        why=operation.why,
    )
    return Write(
        keys.mirror(name),
        record,
        stored.mod_revision if stored else 0,
        reason,
        depends=(
            (keys.group(group), owned.mod_revision if owned else 0),
            (keys.release(group), release.mod_revision if release else 0),
        ),
    )
