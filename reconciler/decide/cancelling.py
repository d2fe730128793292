"""Taking a wish back, as long as nothing has been done for it.

Only the coordinator ends a wish, and in the decision that would act on it: whoever reads
*cancelled* can rely on it.
"""

from dataclasses import dataclass

from reconciler.decide.actions import Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import slot_open
from reconciler.decide.mirror_wishes import MIRROR_KINDS
from reconciler.decide.records import Operation, OperationKind, OperationPhase
from reconciler.decide.recovery_lock import GROUP_KINDS
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.wish_steps import CLOSED, finish, open_operations


@dataclass(frozen=True, slots=True)
class CancelPlan:
    """`ended` are the ids of all wishes that this plan writes."""

    writes: tuple[Write, ...] = ()
    ended: frozenset[str] = frozenset()


def plan_cancels(snapshot: Snapshot, keys: Keys) -> CancelPlan:
    """The end of each wish to cancel, and of what it cancels."""
    writes: list[Write] = []
    ended: set[str] = set()
    for stored in open_operations(snapshot):
        wish = stored.record
        if wish.kind is not OperationKind.CANCEL:
            continue
        name = wish.target.removeprefix("operation/")
        found = snapshot.operations.get(name)
        ended.add(wish.id)
        if found is None or found.record.phase in CLOSED or name in ended:
            text = f"there is no operation {name} that has not ended"
            writes.append(finish(snapshot, keys, stored, False, text))
            continue
        obstacle = why_not(snapshot, found.record)
        if obstacle is not None:
            writes.append(finish(snapshot, keys, stored, False, obstacle))
            continue
        who = wish.who or "an operator"
        ended.add(name)
        writes.append(finish(snapshot, keys, found, False, f"cancelled by {who}"))
        told = f"{found.record.kind.value} {found.record.target} is cancelled"
        writes.append(finish(snapshot, keys, stored, True, told))
    return CancelPlan(tuple(writes), frozenset(ended))


def why_not(snapshot: Snapshot, operation: Operation) -> str | None:
    """Why this wish cannot be taken back any more; None if it can."""
    scope, _, name = operation.target.partition("/")
    if operation.kind in MIRROR_KINDS:
        begun = operation.phase is not OperationPhase.PENDING
        return f"{operation.kind.value} {operation.target} is under way already" if begun else None
    if scope == "resource":
        opposite = "start" if operation.kind is OperationKind.STOP else "stop"
        return f"a single resource follows at once: clusterctl {opposite} {operation.target}"
    if operation.kind is OperationKind.HOLD:
        return f"clusterctl agent release --server {name}"
    if operation.phase is OperationPhase.PENDING:
        return None
    if operation.kind in GROUP_KINDS:
        stored = snapshot.ownerships.get(name)
        begun = stored is not None and stored.record.operation == operation.id
        return f"{operation.kind.value} {operation.target} is under way already" if begun else None
    if operation.kind is OperationKind.FENCE and slot_open(snapshot):
        slot = snapshot.fence_slot
        if slot is not None and slot.record.victim == name:
            return f"{name} is being powered off already"
    return None
