"""What people are told about a server, from stored records only; `clusterctl` and tests call it."""

from dataclasses import dataclass
from typing import Any

from reconciler.decide.doubt import doubt, ears
from reconciler.decide.records import FenceRecord, FencingTest, FinalActionTaken, Hold, Session
from reconciler.decide.status import iso
from reconciler.decide.stored import StoredRecords

ONLINE, SUSPECT, OFFLINE, FENCED, UNKNOWN = "online", "suspect", "offline", "fenced", "unknown"


@dataclass(frozen=True, slots=True)
class SelfTestView:
    """Self-test of this server's fence device as made by server `by`; `live` is false when `by` has
    no session now, so that its result is a memory."""

    by: str
    test: FencingTest
    age_s: float | None
    live: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "level": self.test.level,
            "ok": self.test.ok,
            "detail": self.test.detail,
            "guid": self.test.guid,
            "at": iso(self.test.at_wall),
            "ageSeconds": None if self.age_s is None else round(self.age_s, 1),
            "durationMs": self.test.duration_ms,
            "live": self.live,
        }


@dataclass(frozen=True, slots=True)
class ServerView:
    """`heartbeats` is what this server hears: {peer: {network: state}}, empty unless it has a
    session. `heard_by` lists the live servers that still hear this one."""

    name: str
    state: str
    reasons: tuple[str, ...] = ()
    boot_id: str = ""
    version: str = ""
    revision: int = 0
    store: str = UNKNOWN
    coordinator: bool = False
    groups: tuple[str, ...] = ()
    heartbeats: dict[str, dict[str, str]] | None = None
    heard_by: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tests: tuple[SelfTestView, ...] = ()
    last_fence: FenceRecord | None = None
    fence_in_progress: str = ""
    fencing_levels: tuple[str, ...] = ()
    reported_wall: float = 0.0
    hold: Hold | None = None
    watchdog_s: float = 0.0
    final_actions: tuple[FinalActionTaken, ...] = ()

    def hold_json(self) -> dict[str, Any] | None:
        """Until when its agent may be away; None when it is not held."""
        if self.hold is None:
            return None
        return {
            "until": iso(self.hold.until_wall),
            "inForce": self.hold.in_force,
            "who": self.hold.who,
            "why": self.hold.why,
        }

    @property
    def fencing_ok(self) -> bool | None:
        """True: every live self-test passed; None: none was made."""
        live = [test for test in self.tests if test.live]
        return all(test.test.ok for test in live) if live else None

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reasons": list(self.reasons),
            "bootId": self.boot_id,
            "version": self.version,
            "revision": self.revision,
            "store": self.store,
            "coordinator": self.coordinator,
            "groups": list(self.groups),
            "heartbeats": self.heartbeats or {},
            "heardBy": list(self.heard_by),
            "warnings": list(self.warnings),
            "reported": iso(self.reported_wall),
            "hold": self.hold_json(),
            "watchdogSeconds": self.watchdog_s or None,
            "finalActions": [
                {"action": a.action, "reason": a.reason, "at": iso(a.at_wall)}
                for a in self.final_actions
            ],
            "fencing": {
                "levels": list(self.fencing_levels),
                "ok": self.fencing_ok,
                "tests": [test.to_json() for test in self.tests],
                "inProgress": self.fence_in_progress,
                "last": _fence_json(self.last_fence),
            },
        }


def _fence_json(record: FenceRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "outcome": str(record.outcome),
        "provesOff": record.proves_off,
        "covers": list(record.covers),
        "executor": record.executor,
        "detail": record.detail,
        "at": iso(record.at_wall),
        "durationMs": record.duration_ms,
    }


def server_view(
    server: str,
    records: StoredRecords,
    *,
    now_wall: float = 0.0,
    fencing_levels: tuple[str, ...] = (),
) -> ServerView:
    """The server as it may honestly be shown. `now_wall` only makes the ages of self-tests."""
    session = records.sessions.get(server)
    status = records.server_status.get(server)
    fresh = status if session and status and status.boot_id == session.boot_id else None
    heard_by, _ = ears(server, records)
    state, reasons = _state(server, records, session, heard_by)
    boot_id = session.boot_id if session else (status.boot_id if status else "")
    slot = records.fence_slot
    being_fenced = slot is not None and slot.victim == server
    return ServerView(
        name=server,
        state=state,
        reasons=reasons,
        boot_id=boot_id,
        version=session.version if session else "",
        revision=fresh.revision if fresh else 0,
        store=fresh.store if fresh else UNKNOWN,
        coordinator=records.coordinator is not None and records.coordinator.server == server,
        groups=tuple(sorted(g for g, own in records.groups.items() if own.owner == server)),
        heartbeats={peer: dict(paths) for peer, paths in fresh.heartbeats.items()} if fresh else {},
        heard_by=heard_by,
        warnings=fresh.warnings if fresh else (),
        tests=_tests(server, records, now_wall),
        last_fence=records.fences.get(server),
        fence_in_progress=f"{slot.executor}: {slot.reason}" if slot and being_fenced else "",
        fencing_levels=fencing_levels,
        reported_wall=status.at_wall if status else 0.0,
        hold=records.holds.get(server),
        watchdog_s=session.watchdog_s if session else 0.0,
        final_actions=fresh.final_actions if fresh else (),
    )


def _state(
    server: str, records: StoredRecords, session: Session | None, heard_by: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    why = doubt(server, records)
    slot = records.fence_slot
    fence = records.fences.get(server)
    proof = fence.proof_for(session.boot_id) if session and fence else None
    if proof is not None and fence is not None:
        return FENCED, (f"{proof} by {fence.executor}",)
    if session is not None or (slot is not None and slot.victim == server):
        return (SUSPECT, (why,)) if why else (ONLINE, ())
    if fence is not None and fence.proves_off and not _seen_after(server, fence, records):
        return FENCED, (f"{fence.outcome} by {fence.executor}",)
    owned = sorted(g for g, own in records.groups.items() if own.owner == server)
    reasons = [f"no session, and not proven off; it still owns {', '.join(owned)}"] if owned else []
    if fence is not None and not fence.proves_off:
        reasons.append(
            f"last fence {fence.outcome}" + (f": {fence.detail}" if fence.detail else "")
        )
    if heard_by:
        text = f"no session, but {', '.join(heard_by)} still hears its heartbeat"
        return SUSPECT, (text, *reasons)
    if owned:
        return UNKNOWN, tuple(reasons)
    if server not in records.server_status:
        return UNKNOWN, ("it has never reported here", *reasons)
    return OFFLINE, ("no session: agent stopped or server away", *reasons)


def _seen_after(server: str, fence: FenceRecord, records: StoredRecords) -> bool:
    """Its last report is of another boot than the one that the fence ended."""
    status = records.server_status.get(server)
    return status is not None and status.boot_id not in fence.covers


def _tests(server: str, records: StoredRecords, now_wall: float) -> tuple[SelfTestView, ...]:
    found = []
    for reporter, status in sorted(records.server_status.items()):
        session = records.sessions.get(reporter)
        live = session is not None and session.boot_id == status.boot_id
        for test in status.fencing:
            if test.server == server:
                age = max(0.0, now_wall - test.at_wall) if now_wall and test.at_wall else None
                found.append(SelfTestView(reporter, test, age, live))
    return tuple(found)
