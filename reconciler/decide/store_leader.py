"""Keeps the store's leader off servers that own groups, where there is a choice.

When an owner dies and its member led the store, an election is added to the outage (measured here:
about half a second); a planned hand-over is a gap of milliseconds while nothing is wrong.
"""

from reconciler.decide.membership import Standing, slot_open, standing
from reconciler.decide.snapshot import Snapshot

LOOK_EVERY_S = 5.0
STEADY_FOR_S = 3.0


def members_known(snapshot: Snapshot) -> bool:
    """The voting members were asked lately."""
    return any(
        member.answered_at is not None and snapshot.now - member.answered_at < LOOK_EVERY_S
        for member in snapshot.store_members
    )


def better_leader(snapshot: Snapshot) -> str | None:
    """Server whose member should lead instead; None while it is fine, or nothing is certain.

    Nothing moves while any server is in doubt, a fence is open, or ownership has just changed.
    """
    leader = next((m.server for m in snapshot.store_members if m.is_leader), None)
    owners = {s.record.owner for s in snapshot.ownerships.values() if s.record.owner is not None}
    if leader not in owners or not members_known(snapshot) or slot_open(snapshot):
        return None
    voters = [m.server for m in snapshot.store_members if m.answered_at is not None]
    if len(voters) < len(snapshot.store_members):
        return None
    if any(standing(snapshot, name) is not Standing.ONLINE for name in voters):
        return None
    if any(snapshot.now - s.seen_at < STEADY_FOR_S for s in snapshot.ownerships.values()):
        return None
    return next((name for name in sorted(voters) if name not in owners), None)
