"""What people are told about groups and servers, from stored records only.

Called by `clusterctl` (get, status, wait) and by tests. One rule above all: nothing that was true
once is shown as true now. A report counts only if it comes from the server that owns the group, at
the epoch that stands in the ownership record, while that server has a session of the same boot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.decide.doubt import doubt, is_proven_off
from reconciler.decide.records import (
    Candidate,
    Failure,
    GroupStatus,
    Operation,
    Ownership,
    Phase,
    Verdict,
    Wanted,
)
from reconciler.decide.stored import StoredRecords

UNKNOWN = "unknown"

# These only hasten or show something: what they belong to may still change without a person.
_HINTS = ("clusterctl barrier", "clusterctl status")


def iso(wall: float | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, or None for "not known"."""
    if not wall:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class ResourceView:
    name: str
    type: str
    state: str
    reason: str = ""
    since_wall: float = 0.0
    start_ms: float | None = None
    stop_ms: float | None = None
    restarts: int = 0
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "state": self.state,
            "reason": self.reason,
            "since": iso(self.since_wall),
            "startMs": self.start_ms,
            "stopMs": self.stop_ms,
            "restarts": self.restarts,
            "stoppedByOperator": self.stopped,
        }


@dataclass(frozen=True, slots=True)
class GroupView:
    """`live` says that the owner itself reports this, now. `needs_person` says that the phase will
    not change for the better until somebody acts; `next_command` is what to type then."""

    name: str
    phase: Phase
    reasons: tuple[str, ...] = ()
    owner: str | None = None
    epoch: int = 0
    resources: tuple[ResourceView, ...] = ()
    since_wall: float = 0.0
    previous_owner: str | None = None
    cause: str = ""
    proof: str = ""
    wanted: str = ""
    live: bool = False
    needs_person: bool = False
    next_command: str = ""
    candidates: tuple[Candidate, ...] = ()
    failures: tuple[Failure, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "epoch": self.epoch,
            "phase": str(self.phase),
            "reasons": list(self.reasons),
            "resources": [resource.to_json() for resource in self.resources],
            "since": iso(self.since_wall),
            "previousOwner": self.previous_owner,
            "cause": self.cause,
            "proof": self.proof,
            "wanted": self.wanted,
            "live": self.live,
            "needsPerson": self.needs_person,
            "nextCommand": self.next_command,
            "candidates": [
                {"server": c.server, "eligible": c.eligible, "reason": c.reason}
                for c in self.candidates
            ],
            "failures": [
                {"server": f.server, "epoch": f.epoch, "reason": f.reason, "at": iso(f.at_wall)}
                for f in self.failures
            ],
        }


def group_view(
    group: str, records: StoredRecords, resources: Sequence[tuple[str, str]] = ()
) -> GroupView:
    """The group as it may honestly be shown. `resources` are the (name, type) pairs of its spec."""
    ownership = records.groups.get(group)
    verdict = records.verdicts.get(group)
    report = _current_report(group, ownership, records)
    phase, reasons = _phase_of_record(group, ownership, report, records)
    if verdict is not None:
        if _overrides(verdict, phase, report):
            phase, reasons = verdict.phase, _merged(verdict.reasons, reasons)
        elif verdict.phase is Phase.ONLINE:  # a remark about a group that runs as far as is known
            reasons = _merged(verdict.reasons, reasons)
    needs_person, next_command = _what_to_do(group, phase, ownership, verdict, records)
    return GroupView(
        name=group,
        phase=phase,
        reasons=reasons,
        owner=ownership.owner if ownership else None,
        epoch=ownership.epoch if ownership else 0,
        resources=_resources(resources, ownership, report),
        since_wall=_since(ownership, report),
        previous_owner=ownership.previous_owner if ownership else None,
        cause=ownership.cause if ownership else "",
        proof=str(ownership.proof) if ownership else "",
        wanted=str(ownership.wanted) if ownership else "",
        live=report is not None,
        needs_person=needs_person,
        next_command=next_command,
        candidates=_candidates(ownership, verdict),
        failures=verdict.failures if verdict else (),
    )


def _candidates(ownership: Ownership | None, verdict: Verdict | None) -> tuple[Candidate, ...]:
    """Of the choice that is open now, else of the one that chose the owner."""
    if verdict is not None and verdict.candidates:
        return verdict.candidates
    return ownership.candidates if ownership is not None and ownership.owner is not None else ()


def owner_lives(ownership: Ownership, records: StoredRecords) -> bool:
    """The owner is still the boot to which the group was given, and there is no doubt about it."""
    if ownership.owner is None:
        return False
    session = records.sessions.get(ownership.owner)
    same_boot = session is not None and session.boot_id == ownership.boot_id
    return same_boot and not doubt(ownership.owner, records)


def _current_report(
    group: str, ownership: Ownership | None, records: StoredRecords
) -> GroupStatus | None:
    if ownership is None or ownership.owner is None or not owner_lives(ownership, records):
        return None
    report = records.group_status.get((ownership.owner, group))
    if report is None or report.server != ownership.owner or report.epoch != ownership.epoch:
        return None
    return report


def _phase_of_record(
    group: str, ownership: Ownership | None, report: GroupStatus | None, records: StoredRecords
) -> tuple[Phase, tuple[str, ...]]:
    """Phase and reasons without the coordinator's verdict."""
    if ownership is None:
        return Phase.OFFLINE, ("no server has owned it yet", *_no_coordinator(records))
    if ownership.owner is None:
        return _unowned(ownership, records)
    if not owner_lives(ownership, records):
        phase = Phase.RECOVERING if _is_under_way(ownership, records) else Phase.BLOCKED
        return phase, _owner_gone(group, ownership, records)
    if ownership.releasing:
        target = "stop" if ownership.wanted is Wanted.OFFLINE else "hand it over"
        text = f"{ownership.owner} was asked to {target}"
        reasons = (_with_cause(text, ownership), *(report.reasons if report else ()))
        stuck = report is not None and report.phase in (Phase.FAILED, Phase.BLOCKED)
        return report.phase if report and stuck else Phase.STOPPING, reasons
    if report is None:
        return Phase.STARTING, (
            f"given to {ownership.owner} at epoch {ownership.epoch}, no report of it yet",
        )
    return report.phase, report.reasons


def _unowned(ownership: Ownership, records: StoredRecords) -> tuple[Phase, tuple[str, ...]]:
    if ownership.wanted is Wanted.OFFLINE:
        return Phase.OFFLINE, (ownership.cause or "stopped on request",)
    text = _with_cause("no server owns it now, the coordinator is to choose one", ownership)
    return Phase.OFFLINE, (text, *_no_coordinator(records))


def _is_under_way(ownership: Ownership, records: StoredRecords) -> bool:
    """The owner is in doubt, and what follows by itself has not ended yet: it is asked or fenced,
    its groups are taken over, or its next boot gives them up. All of it is short."""
    owner = ownership.owner or ""
    if records.coordinator is None:
        return False
    slot = records.fence_slot
    fence = records.fences.get(owner)
    proven = is_proven_off(owner, records, ownership.boot_id)
    if fence is not None and not proven and ownership.boot_id in fence.covers:
        return False  # a try has failed: that is for a person to see
    if (slot is not None and slot.victim == owner) or proven:
        return True
    session, challenge = records.sessions.get(owner), records.challenges.get(owner)
    if session is None:
        return False
    answer = records.answers.get(owner)
    asked = challenge is not None and (answer is None or answer.nonce != challenge.nonce)
    return asked or session.boot_id != ownership.boot_id


def _owner_gone(group: str, ownership: Ownership, records: StoredRecords) -> tuple[str, ...]:
    owner = ownership.owner or ""
    session = records.sessions.get(owner)
    if session is not None and session.boot_id != ownership.boot_id:
        first = f"{owner} has been started again since it was given {group} (another boot)"
    else:
        first = f"{owner} owns it but {doubt(owner, records)}; what runs there is not known"
    reasons = [first]
    slot = records.fence_slot
    fence = records.fences.get(owner)
    being_fenced = slot is not None and slot.victim == owner
    told = being_fenced or group in records.verdicts  # a verdict names the fence that failed
    if not told and fence is not None and ownership.boot_id in fence.covers:
        proof = fence.proof_for(ownership.boot_id)
        word = "is proven off" if proof else "could not be proven off"
        reasons.append(f"{owner} {word}: {proof or fence.outcome}" + _in_brackets(fence.detail))
    last = records.group_status.get((owner, group))
    if last is not None and last.epoch == ownership.epoch:
        when = iso(last.since_wall)
        reasons.append(f"last report of {owner}: {last.phase}" + (f" since {when}" if when else ""))
    return (*reasons, *_no_coordinator(records))


def _overrides(verdict: Verdict, phase: Phase, report: GroupStatus | None) -> bool:
    """A live owner's report is only overruled by bad news; green never comes from a verdict."""
    if verdict.phase is Phase.ONLINE:
        return False
    if verdict.phase in (Phase.BLOCKED, Phase.FAILED):
        return True
    return report is None and phase is not Phase.STOPPING


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return (*first, *(reason for reason in second if reason not in first))


def _what_to_do(
    group: str,
    phase: Phase,
    ownership: Ownership | None,
    verdict: Verdict | None,
    records: StoredRecords,
) -> tuple[bool, str]:
    """(needs a person, next command). A wish or a fence that is under way may still help."""
    targets = [f"group/{group}", "cluster"]
    if ownership is not None and ownership.owner is not None:
        targets.append(f"server/{ownership.owner}")
    fencing = phase is Phase.BLOCKED and records.fence_slot is not None
    waiting = fencing or bool(records.pending_operations(*targets))
    if verdict is not None and verdict.next_command:
        final = phase is verdict.phase and phase in (Phase.BLOCKED, Phase.FAILED, Phase.OFFLINE)
        urgent = not verdict.next_command.startswith(_HINTS)
        return final and urgent and not waiting, verdict.next_command
    if phase is Phase.OFFLINE and ownership is not None and ownership.wanted is Wanted.OFFLINE:
        return not waiting, f"clusterctl start group/{group}"
    return False, ""


def _resources(
    spec: Sequence[tuple[str, str]], ownership: Ownership | None, report: GroupStatus | None
) -> tuple[ResourceView, ...]:
    reported = {r.name: r for r in report.resources} if report else {}
    stopped = set(ownership.stopped_resources) if ownership else set()
    default = UNKNOWN if ownership is not None and ownership.owner is not None else "inactive"
    types = dict(spec) or {name: record.type for name, record in reported.items()}
    views = []
    for name, type_name in types.items():
        record = reported.get(name)
        if record is None:
            views.append(ResourceView(name, type_name, default, stopped=name in stopped))
            continue
        views.append(
            ResourceView(
                name=name,
                type=type_name,
                state=record.state,
                reason=record.reason,
                since_wall=record.since_wall,
                start_ms=record.start_ms,
                stop_ms=record.stop_ms,
                restarts=record.restarts,
                stopped=name in stopped,
            )
        )
    return tuple(views)


def _since(ownership: Ownership | None, report: GroupStatus | None) -> float:
    if report is not None and report.since_wall:
        return report.since_wall
    return ownership.since_wall if ownership else 0.0


def _no_coordinator(records: StoredRecords) -> tuple[str, ...]:
    return () if records.coordinator else ("no coordinator at the moment: nothing is decided",)


def _with_cause(text: str, ownership: Ownership) -> str:
    return text + _in_brackets(ownership.cause)


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def operation_json(operation: Operation) -> dict[str, Any]:
    """One operation as `get operations -o json` shows it (the status part)."""
    return {
        "phase": str(operation.phase),
        "result": operation.result,
        "created": iso(operation.created_wall),
        "finished": iso(operation.finished_wall),
    }
