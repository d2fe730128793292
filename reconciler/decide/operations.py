"""Operators' one-shot wishes: which one counts for a group now, and when one is over.

Every wish ends as done or failed with a sentence; none is forgotten, none outlives its purpose.
"""

from collections.abc import Set
from dataclasses import dataclass

from reconciler.decide.actions import Effect, Write
from reconciler.decide.draining import drain_result, plan_cordon, undrain_write
from reconciler.decide.fence_wishes import confirm_step, fence_step
from reconciler.decide.holding import hold_step
from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.mirror_wishes import MIRROR_KINDS, mirror_step
from reconciler.decide.placement import Placing, candidates
from reconciler.decide.records import (
    Operation,
    OperationKind,
    OperationPhase,
    Ownership,
    Phase,
    Wanted,
)
from reconciler.decide.recovery_lock import GROUP_KINDS, recovery_before
from reconciler.decide.snapshot import Snapshot, Stored
from reconciler.decide.wish_steps import (
    CLOSED,
    finish,
    in_order,
    open_operations,
    running,
    waiting_for,
)

KEEP_FINISHED_S = 3600.0


@dataclass(frozen=True, slots=True)
class OperationsPlan:
    """`ended` are the ids that this very plan finishes or refuses: they move nothing any more."""

    writes: tuple[Write, ...] = ()
    effects: tuple[Effect, ...] = ()
    bypass: str | None = None
    cleared: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()


def operation_for(snapshot: Snapshot, group: str, ended: Set[str]) -> Operation | None:
    """The oldest open wish for this group, unless it ends now; the others wait for it."""
    for stored in open_operations(snapshot):
        if recovery_before(snapshot, stored.record):
            continue
        if stored.record.target == f"group/{group}" and stored.record.kind in GROUP_KINDS:
            return None if stored.record.id in ended else stored.record
    return None


def plan_operations(
    snapshot: Snapshot,
    keys: Keys,
    just_fenced: Set[str] = frozenset(),
    cancelled: Set[str] = frozenset(),
) -> OperationsPlan:
    """Everything about operations but the ownership changes themselves.

    `just_fenced`: servers whose fence record this decision writes already; no confirmation may
    write it too. `cancelled`: ids that this decision ends already.
    """
    writes: list[Write] = []
    effects: list[Effect] = []
    bypass: str | None = None
    cleared: set[str] = set()
    started: set[str] = set()
    settled = {f"server/{name}" for name in just_fenced}
    ended: set[str] = set()
    for stored in open_operations(snapshot):
        operation = stored.record
        if operation.id in cancelled:
            continue
        if recovery_before(snapshot, operation):
            step = waiting_for(keys, stored, recovery_before(snapshot, operation))
        elif operation.kind in GROUP_KINDS:
            first = operation.target not in started
            started.add(operation.target)
            step = _group_step(snapshot, keys, stored) if first else None
        elif operation.kind is OperationKind.FENCE:
            step = fence_step(snapshot, keys, stored)
        elif operation.kind is OperationKind.CONFIRM_FENCE:
            if operation.target in settled:
                continue
            settled.add(operation.target)
            step, probes, proof = confirm_step(snapshot, keys, stored)
            effects.extend(probes)
            writes.extend(proof)
        elif operation.kind in (OperationKind.DRAIN, OperationKind.UNDRAIN):
            step, cordons = _drain_step(snapshot, keys, stored)
            if any(write.key in {w.key for w in writes} for write in cordons):
                continue  # another wish about the same server is first
            writes.extend(cordons)
        elif operation.kind in (OperationKind.HOLD, OperationKind.RELEASE_HOLD):
            step, hold = _hold_step(snapshot, keys, stored)
            if hold is not None and hold.key in {w.key for w in writes}:
                continue  # another wish about the same server is first
            writes.extend([hold] if hold else [])
        elif operation.kind in MIRROR_KINDS:
            step, records = _mirror_step(snapshot, keys, stored)
            if any(write.key in {w.key for w in writes} for write in records):
                continue  # another wish about the same mirror is first
            writes.extend(records)
        elif operation.kind is OperationKind.BYPASS_BARRIER:
            bypass, step = operation.id, finish(snapshot, keys, stored, True, "barrier bypassed")
        elif operation.target.startswith("server/"):
            step = _clear_server(snapshot, keys, stored)
        else:
            name = operation.target.removeprefix("group/")
            known = name in snapshot.specs.groups
            cleared |= {name} if known else set()
            text = "failures cleared" if known else f"there is no group {name}"
            step = finish(snapshot, keys, stored, known, text)
        if step is not None:
            writes.append(step)
            if isinstance(step.record, Operation) and step.record.phase in CLOSED:
                ended.add(operation.id)
    writes.extend(_forget_old(snapshot, keys))
    return OperationsPlan(
        tuple(writes), tuple(effects), bypass, frozenset(cleared), frozenset(ended | cancelled)
    )


def _clear_server(snapshot: Snapshot, keys: Keys, stored: Stored[Operation]) -> Write:
    """The count is the server's own: it forgets it when it sees this wish done."""
    server = stored.record.target.removeprefix("server/")
    known = server in snapshot.specs.servers
    text = f"{server} counts its final actions from zero"
    return finish(snapshot, keys, stored, known, text if known else f"there is no server {server}")


def _group_step(snapshot: Snapshot, keys: Keys, stored: Stored[Operation]) -> Write | None:
    operation = stored.record
    scope, _, name = operation.target.partition("/")
    if scope == "resource":
        return _resource_step(snapshot, keys, stored, name)
    if name not in snapshot.specs.groups:
        return finish(snapshot, keys, stored, False, f"there is no group {name}")
    if unreadable(snapshot, keys.group(name), keys.release(name)) is not None:
        return None
    ownership = snapshot.ownerships.get(name)
    record = ownership.record if ownership else None
    if operation.phase is OperationPhase.PENDING:
        refusal = _refusal(snapshot, operation, name, record)
        if refusal is not None:
            return finish(snapshot, keys, stored, *refusal)
        return running(keys, stored)
    return _group_progress(snapshot, keys, stored, name, record)


def _refusal(
    snapshot: Snapshot, operation: Operation, name: str, record: Ownership | None
) -> tuple[bool, str] | None:
    """(ok, sentence) when there is nothing to do or it cannot be done; None to go on."""
    owner = record.owner if record else None
    if operation.kind is OperationKind.STOP:
        return None
    if (ended := _pointless(operation, name, record)) is not None:
        return ended
    found = candidates(snapshot, name, Placing(previous=owner, by_operator=True))
    left = None if operation.kind is OperationKind.START else owner
    fit = [c for c in found if c.eligible and operation.to in (None, c.server) and c.server != left]
    if fit:
        return None
    said = "; ".join(f"{c.server}: {c.reason}" for c in found if c.server != left)
    wished = f"{operation.to} cannot run it" if operation.to else "no other server can run it"
    return False, f"{wished} ({said or 'the group lists no other server'})"


def _pointless(
    operation: Operation, name: str, record: Ownership | None
) -> tuple[bool, str] | None:
    """(ok, sentence) when the group is where it shall be, or nowhere to be moved from."""
    owner = record.owner if record else None
    stopping = record is not None and record.releasing and record.wanted is Wanted.OFFLINE
    if operation.kind is OperationKind.MOVE and owner is None:
        return False, f"group {name} runs nowhere; clusterctl start group/{name}"
    if operation.kind is OperationKind.START and owner is not None and not stopping:
        return True, f"group {name} is owned by {owner} already"
    if operation.kind is OperationKind.MOVE and operation.to == owner:
        return True, f"group {name} is on {owner} already"
    return None


def _group_progress(
    snapshot: Snapshot,
    keys: Keys,
    stored: Stored[Operation],
    name: str,
    record: Ownership | None,
) -> Write | None:
    operation = stored.record
    if record is None:
        return None
    if record.operation != operation.id:
        # Another wish came in between: one with an older name, from where the clock is behind.
        ended = None if record.releasing else _pointless(operation, name, record)
        return finish(snapshot, keys, stored, *ended) if ended is not None else None
    if operation.kind is OperationKind.STOP:
        if record.owner is None:
            return finish(snapshot, keys, stored, True, f"group {name} is stopped")
        return None
    if record.owner is None:
        return finish(snapshot, keys, stored, False, record.cause)
    if record.releasing:
        return None
    status = snapshot.group_status.get((record.owner, name))
    if status is not None and status.epoch == record.epoch and status.phase is Phase.ONLINE:
        where = f"group {name} is online on {record.owner}"
        ok = operation.to in (None, record.owner)
        return finish(snapshot, keys, stored, ok, where)
    release = snapshot.releases.get(name)
    if release is not None and release.record.epoch == record.epoch:
        return finish(snapshot, keys, stored, False, release.record.cause)
    return None


def _resource_step(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation], name: str
) -> Write | None:
    operation = stored.record
    resource = snapshot.specs.resources.get(name)
    if resource is None:
        return finish(snapshot, keys, stored, False, f"there is no resource {name}")
    group = resource.spec.group
    if unreadable(snapshot, keys.group(group)) is not None:
        return None
    ownership = snapshot.ownerships.get(group)
    if ownership is None or ownership.record.owner is None:
        return finish(snapshot, keys, stored, False, f"its group {group} is not running")
    status = snapshot.group_status.get((ownership.record.owner, group))
    stopped = name in ownership.record.stopped_resources
    if operation.phase is OperationPhase.PENDING or status is None:
        return running(keys, stored)
    wished = "inactive" if operation.kind is OperationKind.STOP else "active"
    now = next((r.state for r in status.resources if r.name == name), "unknown")
    if stopped == (operation.kind is OperationKind.STOP) and now == wished:
        where = f"resource {name} is {now} on {ownership.record.owner}"
        return finish(snapshot, keys, stored, True, where)
    return None


def stopped_resources(snapshot: Snapshot, group: str, record: Ownership) -> tuple[str, ...]:
    """The ownership's list after the open wishes for single resources of this group."""
    stopped = set(record.stopped_resources)
    for stored in open_operations(snapshot):
        operation = stored.record
        scope, _, name = operation.target.partition("/")
        resource = snapshot.specs.resources.get(name)
        if scope != "resource" or resource is None or resource.spec.group != group:
            continue
        if recovery_before(snapshot, operation):
            continue
        if operation.kind is OperationKind.STOP:
            stopped.add(name)
        elif operation.kind is OperationKind.START:
            stopped.discard(name)
    return tuple(sorted(stopped))


def _drain_step(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation]
) -> tuple[Write | None, list[Write]]:
    """The cordon comes first, with the wish under way; the groups follow from it."""
    operation = stored.record
    server = operation.target.removeprefix("server/")
    if server not in snapshot.specs.servers:
        return finish(snapshot, keys, stored, False, f"there is no server {server}"), []
    if operation.kind is OperationKind.UNDRAIN:
        end = undrain_write(keys, server, snapshot.cordons.get(server))
        text = f"{server} takes groups again" if end else f"{server} was not drained"
        return finish(snapshot, keys, stored, True, text), [end] if end else []
    if operation.phase is OperationPhase.PENDING:
        cordon = plan_cordon(snapshot, keys, operation)
        return running(keys, stored), [cordon] if cordon else []
    result = drain_result(snapshot, server)
    return (finish(snapshot, keys, stored, *result) if result else None), []


def _hold_step(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation]
) -> tuple[Write | None, Write | None]:
    result, hold = hold_step(snapshot, keys, stored.record)
    if result is not None:
        return finish(snapshot, keys, stored, *result), hold
    return running(keys, stored), hold


def _mirror_step(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation]
) -> tuple[Write | None, list[Write]]:
    found = mirror_step(snapshot, keys, stored.record)
    if found.result is not None:
        records = [found.record] if found.record else []
        return finish(snapshot, keys, stored, *found.result), records
    if found.to is None:
        return None, []
    named = stored.record.model_copy(update={"to": found.to})
    return running(keys, Stored(named, stored.mod_revision, stored.seen_at)), []


def _forget_old(snapshot: Snapshot, keys: Keys) -> list[Write]:
    return [
        Write(keys.operation(stored.record.id), None, stored.mod_revision)
        for stored in in_order(snapshot)
        if stored.record.finished_wall is not None
        and snapshot.wall - stored.record.finished_wall > KEEP_FINISHED_S
    ][:20]
