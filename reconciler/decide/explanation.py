"""Why an object is as it is: the last decision about it, what it rested on, and the way there.

Called by `clusterctl why`. Made of stored records and events only; what left no trace is not told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.decide.chain import Step, chain_of_group, chain_of_monitor, chain_of_server
from reconciler.decide.cordon_words import cordon_words, undrain
from reconciler.decide.monitor_status import monitor_view
from reconciler.decide.records import Candidate, EventRecord, Ownership, Phase, Proof
from reconciler.decide.server_status import server_view
from reconciler.decide.status import GroupView, group_view, iso
from reconciler.decide.stored import StoredRecords


@dataclass(frozen=True, slots=True)
class Explanation:
    """`because` holds the sentences that answer the question, the first one first; `decided` what
    was decided last, `decided_by` by whom. `chosen` is the server that `candidates` were for."""

    subject: str
    state: str
    where: str = ""
    because: tuple[str, ...] = ()
    decided: str = ""
    decided_wall: float = 0.0
    decided_by: str = ""
    proof: str = ""
    candidates: tuple[Candidate, ...] = ()
    chosen: str | None = None
    steps: tuple[Step, ...] = ()
    next_command: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract of `why -o json`."""
        began = self.steps[0].at_wall if self.steps else 0.0
        return {
            "object": self.subject,
            "state": self.state,
            "where": self.where,
            "because": list(self.because),
            "decision": self.decided,
            "at": iso(self.decided_wall),
            "by": self.decided_by,
            "proof": self.proof,
            "chosen": self.chosen,
            "candidates": [
                {"server": c.server, "eligible": c.eligible, "reason": c.reason}
                for c in self.candidates
            ],
            "timeline": [
                {
                    "at": iso(step.at_wall),
                    "ms": round((step.at_wall - began) * 1000, 1),
                    "by": step.server,
                    "event": step.event,
                    "text": step.text,
                }
                for step in self.steps
            ],
            "next": self.next_command,
            "more": dict(self.more),
        }


def explain_group(name: str, records: StoredRecords, events: Sequence[EventRecord]) -> Explanation:
    view = group_view(name, records)
    ownership = records.groups.get(name)
    granted = _granted(name, ownership, events)
    troubled = view.phase in (Phase.BLOCKED, Phase.FAILED, Phase.OFFLINE)
    because = view.reasons or ((view.cause,) if view.cause else ())
    if not troubled and view.cause and view.cause not in because:
        because = (view.cause, *because)
    by = granted.server if granted else (ownership.decided_by if ownership else "")
    at = granted.at_wall if granted else (ownership.since_wall if ownership else 0.0)
    return Explanation(
        subject=f"group/{name}",
        state=str(view.phase),
        where=view.owner or "",
        because=because,
        decided=_decided(ownership),
        decided_wall=at,
        decided_by=by,
        proof=_proof(name, ownership, records),
        candidates=view.candidates,
        chosen=None if troubled else view.owner,
        steps=chain_of_group(name, ownership, at, troubled, events),
        next_command=view.next_command,
        more=_failures(view),
    )


def _granted(
    name: str, ownership: Ownership | None, events: Iterable[EventRecord]
) -> EventRecord | None:
    if ownership is None:
        return None
    found = None
    for event in events:
        fields = event.fields
        if event.name == "group_granted" and fields.get("group") == name:
            found = event if fields.get("epoch") == ownership.epoch else found
    return found if ownership.owner is not None else None


def _decided(ownership: Ownership | None) -> str:
    if ownership is None:
        return "no server was ever chosen"
    if ownership.owner is None:
        return f"nobody owns it; the last epoch was {ownership.epoch}"
    text = f"given to {ownership.owner} at epoch {ownership.epoch}"
    if ownership.releasing:
        return f"{text}, and asked back since"
    previous = ownership.previous_owner
    return f"{text}, from {previous}" if previous and previous != ownership.owner else text


def _proof(name: str, ownership: Ownership | None, records: StoredRecords) -> str:
    """Why the owner before cannot run it any more, with what the device or the server said."""
    if ownership is None or ownership.owner is None:
        return ""
    previous = ownership.previous_owner or ""
    fence, release = records.fences.get(previous), records.releases.get(name)
    if ownership.proof is Proof.NEVER_OWNED:
        return "never owned before"
    if ownership.proof is Proof.RELEASED:
        known = release is not None and release.epoch == ownership.epoch - 1
        return f"{previous} released it" + (f": {release.cause}" if release and known else "")
    if fence is None or not fence.proves_off:
        return str(ownership.proof)
    detail = f": {fence.detail}" if fence.detail else ""
    took = f" ({fence.duration_ms:.0f} ms)" if fence.duration_ms else ""
    return f"{ownership.proof} by {fence.executor}{detail}{took}"


def _failures(view: GroupView) -> dict[str, str]:
    return {
        f"failed on {failure.server} at epoch {failure.epoch}": failure.reason
        for failure in view.failures
    }


def explain_resource(
    name: str, group: str, records: StoredRecords, events: Sequence[EventRecord]
) -> Explanation:
    """A resource is where its group is; its own events tell the rest."""
    view = group_view(group, records)
    resource = next((one for one in view.resources if one.name == name), None)
    of_group = explain_group(group, records, events)
    own = [event for event in events if event.fields.get("resource") == name]
    because = [resource.reason] if resource and resource.reason else []
    if resource is not None and resource.stopped:
        because.append("stopped by an operator")
    if view.phase is not Phase.ONLINE or not because:
        because.append(f"group/{group} is {view.phase}")
        because.extend(of_group.because)
    start = f"clusterctl start resource/{name}"
    return Explanation(
        subject=f"resource/{name}",
        state=resource.state if resource else "unknown",
        where=view.owner or "",
        because=tuple(because),
        decided=of_group.decided,
        decided_wall=of_group.decided_wall,
        decided_by=of_group.decided_by,
        steps=tuple(Step.of(event) for event in own[-10:]),
        next_command=start if resource and resource.stopped else of_group.next_command,
        more={"restarts": str(resource.restarts)} if resource and resource.restarts else {},
    )


def explain_server(name: str, records: StoredRecords, events: Sequence[EventRecord]) -> Explanation:
    view = server_view(name, records)
    fence = view.last_fence
    because = list(view.reasons)
    requested = [e for e in events if e.name == "fence_requested" and _about(e, name)]
    asked = str(requested[-1].fields.get("why", "")) if requested else ""
    if fence is not None:
        word = "was fenced" if fence.proves_off else "could not be fenced"
        why = f" because it was {asked}" if asked and fence.proves_off else ""
        because.append(f"{name} {word}{why}")
    lost = view.state == "unknown" and bool(view.groups)
    next_command = f"clusterctl fence confirm {name}" if lost else ""
    if words := cordon_words(name, records):
        because.append(f"{name} {words}")
        next_command = next_command or undrain(name)
    return Explanation(
        subject=f"server/{name}",
        state=view.state,
        because=tuple(because),
        decided=f"last fence: {fence.outcome}" if fence else "",
        decided_wall=fence.at_wall if fence else 0.0,
        decided_by=requested[-1].server if requested else (fence.executor if fence else ""),
        proof=f"{fence.executor}: {fence.detail}" if fence and fence.proves_off else "",
        steps=chain_of_server(name, events),
        next_command=next_command,
        more={"owns": ", ".join(view.groups)} if view.groups else {},
    )


def _about(event: EventRecord, server: str) -> bool:
    return bool(event.fields.get("server") == server)


def explain_monitor(
    name: str, records: StoredRecords, events: Sequence[EventRecord]
) -> Explanation:
    view = monitor_view(name, records)
    worst = view.worst
    because = [text for text in (worst.reason, worst.waiting) if text] if worst else []
    last = max(view.servers, key=lambda status: status.last_step_wall or 0.0, default=None)
    stepped = last is not None and last.last_step_wall is not None
    return Explanation(
        subject=f"monitor/{name}",
        state=view.state.value,
        where=", ".join(view.on),
        because=tuple(because),
        decided=f"last step of its recovery: {last.last_step}" if last and stepped else "",
        decided_wall=(last.last_step_wall or 0.0) if last else 0.0,
        decided_by=last.server if last and stepped else "",
        steps=chain_of_monitor(name, events),
        more={
            status.server: f"{status.restarts} restarts, {status.failovers} failovers taken"
            for status in view.servers
            if status.restarts or status.failovers
        },
    )
