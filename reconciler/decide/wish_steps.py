"""How a wish goes on: begun, waiting, ended with a sentence. `operations` and its parts use it."""

from reconciler.decide.actions import Reason, Write
from reconciler.decide.keys import Keys
from reconciler.decide.records import Operation, OperationPhase
from reconciler.decide.snapshot import Snapshot, Stored

CLOSED = (OperationPhase.DONE, OperationPhase.FAILED)


def in_order(snapshot: Snapshot) -> list[Stored[Operation]]:
    """Oldest first: identifiers sort by time."""
    return [snapshot.operations[i] for i in sorted(snapshot.operations)]


def open_operations(snapshot: Snapshot) -> list[Stored[Operation]]:
    return [stored for stored in in_order(snapshot) if stored.record.phase not in CLOSED]


def finish(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation], ok: bool, result: str
) -> Write:
    phase = OperationPhase.DONE if ok else OperationPhase.FAILED
    record = stored.record.model_copy(
        update={"phase": phase, "result": result, "finished_wall": snapshot.wall}
    )
    reason = Reason.of(
        "operation_finished" if ok else "operation_failed",
        operation=record.id,
        kind=record.kind.value,
        target=record.target,
        result=result,
        who=record.who,
    )
    return Write(keys.operation(record.id), record, stored.mod_revision, reason)


def running(keys: Keys, stored: Stored[Operation]) -> Write | None:
    if stored.record.phase is OperationPhase.RUNNING:
        return None
    record = stored.record.model_copy(
        update={"phase": OperationPhase.RUNNING, "result": "", "begun": True}
    )
    reason = Reason.of(
        "operation_started",
        operation=record.id,
        kind=record.kind.value,
        target=record.target,
        who=record.who,
    )
    return Write(keys.operation(record.id), record, stored.mod_revision, reason)


def waiting_for(keys: Keys, stored: Stored[Operation], reason: str) -> Write | None:
    """The wish says what it waits for; written once for each reason."""
    if stored.record.result == reason:
        return None
    record = stored.record.model_copy(update={"result": reason})
    told = Reason.of(
        "operation_waits",
        operation=record.id,
        kind=record.kind.value,
        target=record.target,
        reason=reason,
        who=record.who,
    )
    return Write(keys.operation(record.id), record, stored.mod_revision, told)
