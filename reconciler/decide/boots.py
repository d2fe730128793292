"""Boots of a server that something in the store still depends on: what a fence of it must cover,
and which proofs are still needed.
"""

from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import any_boot, generation, in_doubt


def boots_of(snapshot: Snapshot, server: str) -> tuple[str, ...]:
    """Their ids, sorted: owners of groups, the session, and what ran before a restore."""
    boots = {
        stored.record.boot_id
        for stored in snapshot.ownerships.values()
        if stored.record.owner == server and stored.record.boot_id
    }
    session = snapshot.sessions.get(server)
    if session is not None:
        boots.add(session.record.boot_id)
    if in_doubt(snapshot, server):
        boots.add(any_boot(generation(snapshot)))
    return tuple(sorted(boots))
