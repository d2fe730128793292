"""Servers that are heard, but whose agent is gone or without the store, and that own what must
not run then.

Called by `fencing`, which ends them.
"""

from reconciler.decide.expiry import STOP
from reconciler.decide.membership import Standing, is_deaf, standing
from reconciler.decide.snapshot import Snapshot

DESERTED = "heard, but its session has ended, and what it owns must not run so"


def deserting(snapshot: Snapshot) -> list[str]:
    """Servers that are heard, whose session is over, and that own a group which may not run then:
    by `onStoreLoss: stop`, or because they say that they hear too few, and so end what they run. A
    new boot runs nothing of it, and says so itself."""
    found = set()
    for name, stored in snapshot.ownerships.items():
        record, owner = stored.record, stored.record.owner
        if owner is None or owner == snapshot.me:
            continue
        if record.on_store_loss != STOP and not is_deaf(snapshot, owner):
            continue
        peer = snapshot.peers.peers.get(owner)
        same_boot = peer is not None and peer.boot_id == record.boot_id
        release = snapshot.releases.get(name)
        released = release is not None and release.record.epoch == record.epoch
        isolated = standing(snapshot, owner) is Standing.STORE_ISOLATED
        if isolated and same_boot and not released:
            found.add(owner)
    return sorted(found)


def deserted_at(snapshot: Snapshot, server: str) -> float:
    """Its agent may be back in a moment. Who did not see the session end began later than that:
    all agents may have been restarted at once, and each is given the time to come back."""
    timing, since = snapshot.specs.timing, snapshot.absent_since.get(server)
    if since is not None:
        return since + timing.session_renewal
    began = snapshot.complete_since
    return float("inf") if began is None else began + timing.session_ttl
