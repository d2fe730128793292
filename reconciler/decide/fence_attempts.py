"""Attempts to fence one server: who tries next, which level, and when after a failure.

Each server that is online tries each level once, one right after the other; then pauses follow.
"""

from reconciler.decide.boots import boots_of
from reconciler.decide.membership import Standing, session_of, slot_open, standing
from reconciler.decide.snapshot import Snapshot

RETRY_FIRST_S = 5.0
RETRY_LAST_S = 300.0
MOST_DOUBLINGS = 16


def executors(snapshot: Snapshot, victim: str) -> list[str]:
    """This server first: its session to the device is already open. Nobody fences itself."""
    others = [
        name
        for name in sorted(snapshot.specs.servers)
        if name not in (victim, snapshot.me) and standing(snapshot, name) is Standing.ONLINE
    ]
    return others if victim == snapshot.me else [snapshot.me, *others]


def _failed_attempts(snapshot: Snapshot, victim: str) -> int:
    stored = snapshot.fences.get(victim)
    if stored is None or stored.record.proves_off:
        return 0
    same_boot = set(boots_of(snapshot, victim)) & set(stored.record.covers)
    return stored.record.attempt if same_boot else 0


def failures(snapshot: Snapshot, victim: str) -> int:
    """Those of this suspicion: a server that was heard since and has a session had come back."""
    peer = snapshot.peers.peers.get(victim)
    failed = _failed_attempts(snapshot, victim)
    if not failed or peer is None or peer.heard_at is None or session_of(snapshot, victim) is None:
        return failed
    back = (peer.suspect or peer.silent) and peer.heard_at > snapshot.fences[victim].seen_at
    return 0 if back else failed


def _round(snapshot: Snapshot, victim: str) -> int:
    """Attempts after which every executor has tried every level."""
    server = snapshot.specs.servers.get(victim)
    levels = len(server.spec.fencing.levels) if server and server.spec.fencing else 1
    return levels * max(1, len(executors(snapshot, victim)))


def retry_at(snapshot: Snapshot, victim: str) -> float:
    """Each executor tries each level at once; after a full round the pauses double, bounded."""
    failed = failures(snapshot, victim)
    if failed == 0:
        return float("-inf")
    round_size = _round(snapshot, victim)
    seen_at = snapshot.fences[victim].seen_at
    if failed % round_size:
        return seen_at
    pause = RETRY_FIRST_S * 2.0 ** min(failed // round_size - 1, MOST_DOUBLINGS)
    return seen_at + min(RETRY_LAST_S, pause)


def is_tried(snapshot: Snapshot, victim: str, since: int) -> bool:
    """Since this revision of the store an attempt worked, or each level failed from each server
    that can reach it."""
    fence = snapshot.fences.get(victim)
    if fence is None or fence.mod_revision <= since:
        return False
    if fence.record.proves_off:
        return True
    slot = snapshot.fence_slot
    if slot is not None and slot.record.victim == victim and slot_open(snapshot):
        return False  # one is under way, and may still work
    return not _failed_attempts(snapshot, victim) % _round(snapshot, victim)
