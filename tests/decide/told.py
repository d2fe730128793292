"""A decision as lines of text, for the golden tests: who gets what, why, and what is asked."""

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.decide.actions import (
    AskMembers,
    Decision,
    Effect,
    ExecuteFence,
    MoveStoreLeader,
    PowerOn,
    PrepareFence,
    ProbeAddresses,
    ResetSelf,
    Write,
)
from reconciler.decide.records import (
    Challenge,
    FenceIntent,
    FenceRecord,
    Operation,
    Ownership,
    Record,
    Release,
    Verdict,
)


def decision_lines(decision: Decision) -> tuple[str, ...]:
    """Everything that a decision says and does, in its own order."""
    lines: list[str] = []
    if decision.take_coordinator:
        lines.append("this server becomes coordinator")
    for write in (*decision.own_writes, *decision.writes):
        lines.extend(write_lines(write))
    effects = (*decision.effects, *decision.after_commit)
    lines.extend(_EFFECTS.get(type(effect), _named)(effect) for effect in effects)
    lines.extend(
        f"here: {want.want.value} group {group} at epoch {want.epoch} ({want.cause})"
        for group, want in sorted(decision.local.items())
    )
    return tuple(lines)


def write_lines(write: Write) -> tuple[str, ...]:
    """What one write means; the key's path when nothing better is known."""
    record = write.record
    path = write.key.split("/", 3)[-1]
    if record is None:
        return (f"{path} is removed",)
    told = _RECORDS.get(type(record))
    return told(record) if told is not None else (f"{path} is written",)


def _ownership(record: Any) -> tuple[str, ...]:
    subject = f"group {record.group}"
    if record.owner is None:
        return (f"{subject}: nobody owns it, wanted {record.wanted.value}: {record.cause}",)
    if record.releasing:
        return (f"{subject}: {record.owner} is asked to stop and release it: {record.cause}",)
    head = f"{subject}: given to {record.owner} at epoch {record.epoch}, proof {record.proof.value}"
    return (f"{head}: {record.cause}", *_choice(record))


def _verdict(record: Any) -> tuple[str, ...]:
    reasons = "; ".join(record.reasons) or "no remark"
    follow = f" (next: {record.next_command})" if record.next_command else ""
    return (f"group {record.group} is {record.phase.value}: {reasons}{follow}", *_choice(record))


def _choice(record: Any) -> tuple[str, ...]:
    return tuple(
        f"  {'may' if one.eligible else 'no '} {one.server}: {one.reason}"
        for one in record.candidates
    )


def _release(record: Any) -> tuple[str, ...]:
    return (f"group {record.group}: epoch {record.epoch} is released: {record.cause}",)


def _intent(record: Any) -> tuple[str, ...]:
    if record.closed:
        return ("the fence slot is free",)
    how = f"level {record.level + 1}, attempt {record.attempt}"
    return (f"server {record.victim}: {record.executor} powers it off ({how}): {record.reason}",)


def _fence(record: Any) -> tuple[str, ...]:
    return (
        f"server {record.server}: {record.outcome.value} by {record.executor}: {record.detail}",
    )


def _challenge(record: Any) -> tuple[str, ...]:
    return (f"server {record.server} is asked through the store whether it lives",)


def _operation(record: Any) -> tuple[str, ...]:
    told = f": {record.result}" if record.result else ""
    return (f"operation {record.kind.value} {record.target} is {record.phase.value}{told}",)


_RECORDS: Mapping[type[Record], Callable[[Any], tuple[str, ...]]] = {
    Ownership: _ownership,
    Verdict: _verdict,
    Release: _release,
    FenceIntent: _intent,
    FenceRecord: _fence,
    Challenge: _challenge,
    Operation: _operation,
}


def _named(effect: Effect) -> str:
    return f"does: {type(effect).__name__}"


_EFFECTS: Mapping[type[Any], Callable[[Any], str]] = {
    ExecuteFence: lambda e: f"does: power off {e.intent.victim}",
    PrepareFence: lambda e: f"does: open the session to the fence device of {e.server}",
    PowerOn: lambda e: f"does: switch {e.server} on",
    ProbeAddresses: lambda e: f"does: ask the network for {', '.join(e.addresses) or 'nothing'}",
    AskMembers: lambda _: "does: ask which members of the store answer",
    MoveStoreLeader: lambda e: f"does: hand the lead of the store to {e.server}",
    ResetSelf: lambda e: f"does: reset this server: {e.reason}",
}
