"""Proof `expired`: the time has passed by which a server must have stopped a group by itself.

It rests on the owner's own clockwork, so it is narrow: the group was granted under `onStoreLoss:
stop` to a boot with an armed hardware watchdog, the owner holds no group that it keeps, and its
session is gone without a successor. Then its pulse stopped the group D after its last proof, or the
watchdog reset the machine W later.

Invariant: the deadlines are those of the grant, held in the ownership record. An owner starts
nothing of such a group before its pulse holds a deadline that is not longer.
"""

from reconciler.decide.keys import Keys
from reconciler.decide.membership import session_proven, unreadable
from reconciler.decide.records import Ownership, Phase, Session
from reconciler.decide.snapshot import Snapshot
from specs.timing_rules import CLOCK_DRIFT, RESET_S

STOP = "stop"


def terms(policy: str, session: Session) -> dict[str, float]:
    """Deadlines in force for a grant to the server with this session, as fields of `Ownership`.
    Zeros: this grant never expires."""
    if policy != STOP or session.watchdog_s <= 0 or session.dead_man_s <= 0:
        return {"dead_man_s": 0.0, "watchdog_s": 0.0}
    return {"dead_man_s": session.dead_man_s, "watchdog_s": session.watchdog_s}


def grown_terms(record: Ownership, session: Session) -> dict[str, float] | None:
    """What the record must say before its owner may take a longer deadline; None = as it is.
    Deadlines never become shorter in a record: the owner may not have heard of it yet."""
    new = terms(record.on_store_loss, session)
    if wait_s(record) is None or not new["watchdog_s"]:
        return None
    longer = {name: max(value, getattr(record, name)) for name, value in new.items()}
    changed = any(value != getattr(record, name) for name, value in longer.items())
    return longer if changed else None


def broken_terms(snapshot: Snapshot, record: Ownership) -> str | None:
    """Why this server must not start a group that others may take over by time alone; None = its
    pulse and watchdog hold what was promised."""
    pulse = snapshot.peers
    if wait_s(record) is None:
        return None
    if not 0 < pulse.watchdog_s <= record.watchdog_s:
        return "the watchdog that others count on is not armed as they were told"
    if not 0 < pulse.dead_man_s <= record.dead_man_s:
        return "the pulse does not hold the deadline that others count on"
    return None if pulse.holds else "the pulse does not know yet that the group must not outlive it"


def must_hold(snapshot: Snapshot) -> bool:
    """Whether something runs here, or may be started, that others take over by time alone."""
    for name, stored in snapshot.ownerships.items():
        local = snapshot.local_groups.get(name)
        runs = local is not None and local.phase is not Phase.OFFLINE
        mine = stored.record.owner == snapshot.me and wait_s(stored.record) is not None
        if mine and (runs or session_proven(snapshot)):
            return True
    return False


def longest_deadlines(snapshot: Snapshot) -> tuple[float, float] | None:
    """(D, W) that this server's pulse and watchdog may hold at most, because groups were granted
    to it under them; None = no bound."""
    bound = [
        stored.record
        for stored in snapshot.ownerships.values()
        if stored.record.owner == snapshot.me and wait_s(stored.record) is not None
    ]
    if not bound:
        return None
    return min(r.dead_man_s for r in bound), min(r.watchdog_s for r in bound)


def wait_s(record: Ownership) -> float | None:
    """Seconds from the end of the session, on any clock, after which nothing of the group runs on
    its owner; None = never known. The owner's clock may be slow and ours fast."""
    if record.on_store_loss != STOP or record.watchdog_s <= 0 or record.dead_man_s <= 0:
        return None
    longest = (record.dead_man_s + record.watchdog_s) * (1 + CLOCK_DRIFT) + RESET_S
    return longest / (1 - CLOCK_DRIFT)


def expires_at(snapshot: Snapshot, record: Ownership) -> float | None:
    """When this ownership is over by time alone, on our monotonic clock; None = it never is, or not
    while things are as they are."""
    owner, wait = record.owner, wait_s(record)
    if owner is None or wait is None or owner in snapshot.sessions:
        return None
    keys = Keys(snapshot.specs.cluster.metadata.name)
    since = snapshot.absent_since.get(owner, snapshot.complete_since)
    if (
        since is None
        or unreadable(snapshot, keys.session(owner))
        or _keeps_something(snapshot, owner)
    ):
        return None
    return since + wait


def is_expired(snapshot: Snapshot, record: Ownership) -> bool:
    """Whether the proof holds now. A view of the store that is older than half a session's life
    could hide a session that came and went."""
    at = expires_at(snapshot, record)
    current = snapshot.now - snapshot.fresh_at < snapshot.specs.timing.session_ttl / 2
    return at is not None and current and snapshot.now >= at


def _keeps_something(snapshot: Snapshot, server: str) -> bool:
    return any(
        stored.record.owner == server and stored.record.on_store_loss != STOP
        for stored in snapshot.ownerships.values()
    )
