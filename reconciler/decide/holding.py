"""`agent hold`: an agent may be away for longer than the dead-man deadline, for maintenance.

Order: the hold is recorded, then the server's own agent lets its pulse stretch the deadline, then
the record says so (`in_force`); only that ends the operator's wish.

Invariants: a hold proves nothing and delays no fence. It stretches the deadline of what runs under
`onStoreLoss: keep` only: nobody takes such a group over because time has passed. A server with a
group under `stop` is not held. A hold is bounded, and the pulse ends it by its own clock.
"""

from datetime import UTC, datetime

from reconciler.decide.actions import Effect, Reason, StretchDeadline, Write
from reconciler.decide.expiry import STOP
from reconciler.decide.keys import Keys
from reconciler.decide.membership import Standing, proven_off, session_of, standing, unreadable
from reconciler.decide.records import Hold, Operation, OperationKind
from reconciler.decide.snapshot import Snapshot, Stored

LONGEST_S = 4 * 3600.0
"""The same bound is in the pulse (`reconciler.pulse.deadman`)."""


def clock_time(wall: float) -> str:
    """`16:40 UTC`, as operators read it."""
    return datetime.fromtimestamp(wall, UTC).strftime("%H:%M:%S UTC")


def hold_of(snapshot: Snapshot, server: str) -> Hold | None:
    """The hold under which this server's agent may be away now or soon."""
    stored = snapshot.holds.get(server)
    if stored is None:
        return None
    record = stored.record
    over = record.released or snapshot.wall >= record.until_wall
    return None if over or _other_boot(snapshot, record) else record


def _other_boot(snapshot: Snapshot, hold: Hold) -> bool:
    """The boot that it was for is over."""
    session = session_of(snapshot, hold.server)
    newer = session is not None and session.record.boot_id != hold.boot_id
    return newer or proven_off(snapshot, hold.server, hold.boot_id)


# -- the coordinator's part --------------------------------------------------------------------


def hold_step(
    snapshot: Snapshot, keys: Keys, operation: Operation
) -> tuple[tuple[bool, str] | None, Write | None]:
    """((ok, sentence) once the wish is over, the record to write now)."""
    server = operation.target.removeprefix("server/")
    if server not in snapshot.specs.servers:
        return (False, f"there is no server {server}"), None
    if (problem := unreadable(snapshot, keys.hold(server))) is not None:
        return (False, problem), None
    stored = snapshot.holds.get(server)
    if operation.kind is OperationKind.RELEASE_HOLD:
        return _release_step(snapshot, keys, server, stored)
    if stored is not None and stored.record.id == operation.id:
        if not stored.record.in_force:
            return None, None
        return (True, f"{server} may be without its agent until {_until(stored.record)}"), None
    if operation.phase != "pending":
        return (False, f"the hold of {server} ended before its pulse confirmed it"), None
    refusal = _refusal(snapshot, operation, server, stored)
    if refusal is not None:
        return (False, refusal), None
    session = session_of(snapshot, server)
    record = Hold(
        server=server,
        boot_id=session.record.boot_id if session else "",
        id=operation.id,
        for_s=operation.for_s or 0.0,
        until_wall=snapshot.wall + (operation.for_s or 0.0),
        who=operation.who,
        why=operation.why,
    )
    return None, Write(keys.hold(server), record, stored.mod_revision if stored else 0)


def _until(hold: Hold) -> str:
    return clock_time(hold.until_wall)


def _refusal(
    snapshot: Snapshot, operation: Operation, server: str, stored: Stored[Hold] | None
) -> str | None:
    if not 0 < (operation.for_s or 0.0) <= LONGEST_S:
        return f"a hold lasts at most {LONGEST_S / 3600:.0f} h; ask again when it is over"
    if stored is not None and not stored.record.released:
        return f"{server} is held until {_until(stored.record)} already; agent release first"
    if standing(snapshot, server) is not Standing.ONLINE:
        return f"{server} is {standing(snapshot, server).value}: its pulse cannot be told"
    stopping = [
        name
        for name, own in sorted(snapshot.ownerships.items())
        if own.record.owner == server and own.record.on_store_loss == STOP
    ]
    if stopping:
        names = ", ".join(stopping)
        return f"{names} on {server} must stop without its agent (onStoreLoss: stop); move it first"
    return None


def _release_step(
    snapshot: Snapshot, keys: Keys, server: str, stored: Stored[Hold] | None
) -> tuple[tuple[bool, str] | None, Write | None]:
    if stored is None:
        return (True, f"{server} is not held"), None
    if session_of(snapshot, server) is None:
        text = f"its hold ends when the agent of {server} is back, or at {_until(stored.record)}"
        write = None if stored.record.released else _released(keys, server, stored)
        return (True, text), write
    return None, None if stored.record.released else _released(keys, server, stored)


def _released(keys: Keys, server: str, stored: Stored[Hold]) -> Write:
    record = stored.record.model_copy(update={"released": True})
    return Write(keys.hold(server), record, stored.mod_revision)


def end_of_holds(snapshot: Snapshot, keys: Keys) -> list[Write]:
    """Holds of boots that are over, and of servers that are no more; all others are ended by the
    server itself, once its pulse has the short deadline again."""
    return [
        Write(
            keys.hold(name),
            None,
            stored.mod_revision,
            Reason.of("server_hold_ended", server=name, reason="its boot is over"),
        )
        for name, stored in sorted(snapshot.holds.items())
        if _other_boot(snapshot, stored.record) or name not in snapshot.specs.servers
    ]


# -- the held server's own part ------------------------------------------------------------------


def plan_own_hold(snapshot: Snapshot, keys: Keys) -> tuple[tuple[Write, ...], tuple[Effect, ...]]:
    """What this server stores about its hold, and what its pulse is to be told."""
    stored, pulse = snapshot.holds.get(snapshot.me), snapshot.peers
    if unreadable(snapshot, keys.hold(snapshot.me)) is not None or not pulse.pulse_alive:
        return (), ()
    if stored is None or stored.record.boot_id != snapshot.boot_id:
        # Never recorded, or of another boot: the deadline is the short one.
        stretched = bool(pulse.stretch) and snapshot.now < pulse.stretched_until
        return (), ((StretchDeadline(pulse.stretch, 0.0),) if stretched else ())
    record = stored.record
    known = pulse.stretch == record.id
    remaining = min(record.until_wall - snapshot.wall, record.for_s, LONGEST_S)
    if record.released or remaining <= 0 or (known and snapshot.now >= pulse.stretched_until):
        if known and snapshot.now < pulse.stretched_until:
            return (), (StretchDeadline(record.id, 0.0),)
        reason = "released" if record.released else "its time is over"
        ended = Reason.of("server_hold_ended", server=snapshot.me, reason=reason)
        return (Write(keys.hold(snapshot.me), None, stored.mod_revision, ended),), ()
    if not known:
        return (), (StretchDeadline(record.id, snapshot.now + remaining),)
    if record.in_force:
        return (), ()
    confirmed = record.model_copy(update={"in_force": True})
    held = Reason.of(
        "server_held",
        server=snapshot.me,
        until=_until(record),
        who=record.who,
        why=record.why,
    )
    return (Write(keys.hold(snapshot.me), confirmed, stored.mod_revision, held),), ()
