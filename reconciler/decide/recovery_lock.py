"""A group under recovery holds its operation lock: wishes of operators wait for the step of a
monitor's recovery that is under way, visibly, unless they say that they do not (`preempt`).

Used by `operations`, for the coordinator, and by the recovery itself, which ends for a preemption.
"""

from reconciler.decide.membership import Standing, standing
from reconciler.decide.records import Operation, OperationKind, OperationPhase
from reconciler.decide.snapshot import Snapshot

GROUP_KINDS = (OperationKind.MOVE, OperationKind.START, OperationKind.STOP)


def recovery_before(snapshot: Snapshot, operation: Operation) -> str:
    """Why a wish has to wait; "" when it need not, does not want to, or has begun."""
    waits = operation.phase is OperationPhase.PENDING and not operation.preempt
    if not waits or operation.kind not in GROUP_KINDS:
        return ""
    return recovery_of(snapshot, group_of(snapshot, operation))


def group_of(snapshot: Snapshot, operation: Operation) -> str:
    """The group that an operation of `GROUP_KINDS` concerns; "" for an unknown resource."""
    scope, _, name = operation.target.partition("/")
    if scope != "resource":
        return name
    resource = snapshot.specs.resources.get(name)
    return resource.spec.group if resource else ""


def recovery_of(snapshot: Snapshot, group: str) -> str:
    """The recovery that holds the group now, in a sentence. Only that of a healthy owner counts."""
    stored = snapshot.ownerships.get(group)
    owner = stored.record.owner if stored else None
    if owner is None or standing(snapshot, owner) is not Standing.ONLINE:
        return ""
    for (server, monitor), status in sorted(snapshot.monitor_status.items()):
        if server == owner and status.recovering and group in status.recovering_groups:
            return f"waits: monitor {monitor} recovers group {group} ({status.recovering})"
    return ""


def preempted_by(snapshot: Snapshot, groups: tuple[str, ...]) -> str:
    """Who wants a recovery of these groups to end now; "" for nobody."""
    for stored in snapshot.operations.values():
        operation = stored.record
        is_open = operation.preempt and operation.finished_wall is None
        wanted = is_open and operation.kind in GROUP_KINDS
        if wanted and group_of(snapshot, operation) in groups:
            return operation.who or "an operator"
    return ""
