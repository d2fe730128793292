"""Switching a fenced server on again (`afterFence: on`): once, out of what is stored.

That it is due stays in the fence record until a device says that it is done, the server is back by
itself, or every try has failed: a coordinator that dies in between costs nothing. Each try is
counted before it is made. What a person switched off is left off: after an operator's fence nothing
is due, and while one is asked for, or with `stay-off` in the spec by now, nothing is done.
"""

from dataclasses import dataclass

from reconciler.decide.actions import Effect, PowerOn, Reason, Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.records import FenceRecord
from reconciler.decide.snapshot import Snapshot, Stored

MOST_TRIES = 5
FIRST_PAUSE_S = 10.0
"""After the first try; doubled after each further one."""


@dataclass(frozen=True, slots=True)
class PowerOnPlan:
    """`effects` only once `writes` are stored: they count the tries."""

    writes: tuple[Write, ...] = ()
    effects: tuple[Effect, ...] = ()
    wake_at: tuple[float, ...] = ()


def plan_power_on(snapshot: Snapshot, keys: Keys, asked_off: list[str], room: int) -> PowerOnPlan:
    """The coordinator's part. `asked_off`: servers that an operator wants fenced; `room`: writes
    that fit, the rest comes next time."""
    writes: list[Write] = []
    effects: list[Effect] = []
    wake: list[float] = []
    for server, stored in sorted(snapshot.fences.items()):
        if not stored.record.power_on_due or server not in snapshot.specs.servers:
            continue
        if unreadable(snapshot, keys.fence(server), keys.session(server)) is not None:
            continue
        again_at = _again_at(stored)
        end = _end(snapshot, server, stored, asked_off)
        if end is None and snapshot.now < again_at:
            wake.append(again_at)
        elif len(writes) < room:
            changes: dict[str, object] = {"power_on_due": False}
            if end is None:
                changes = {"power_on_tries": stored.record.power_on_tries + 1}
                effects.append(PowerOn(server, stored.record.at_wall))
            record = stored.record.model_copy(update=changes)
            reason = end[0] if end is not None else None
            writes.append(Write(keys.fence(server), record, stored.mod_revision, reason))
    return PowerOnPlan(tuple(writes), tuple(effects), tuple(wake))


def _again_at(stored: Stored[FenceRecord]) -> float:
    tries = stored.record.power_on_tries
    return stored.seen_at + FIRST_PAUSE_S * 2.0 ** (tries - 1) if tries else float("-inf")


def _end(
    snapshot: Snapshot, server: str, stored: Stored[FenceRecord], asked_off: list[str]
) -> tuple[Reason | None] | None:
    """(what is told) when nothing is due any more; None while it is."""
    record = stored.record
    fencing = snapshot.specs.servers[server].spec.fencing
    if fencing is None or fencing.after_fence != "on" or server in asked_off:
        return (None,)
    if snapshot.local_power_ons.get(server) == record.at_wall:
        return (Reason.of("server_powered_on", server=server),)
    if _is_back(snapshot, server, record):
        return (None,)
    if record.power_on_tries >= MOST_TRIES and snapshot.now >= _again_at(stored):
        return (Reason.of("server_stays_off", server=server, tries=record.power_on_tries),)
    return None


def _is_back(snapshot: Snapshot, server: str, record: FenceRecord) -> bool:
    """A boot of it that the fence did not end is here."""
    session, peer = snapshot.sessions.get(server), snapshot.peers.peers.get(server)
    if session is not None and record.proof_for(session.record.boot_id) is None:
        return True
    heard = peer is not None and not peer.suspect and not peer.silent and peer.boot_id
    return bool(heard) and record.proof_for(str(peer.boot_id if peer else "")) is None
