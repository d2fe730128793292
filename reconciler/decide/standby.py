"""What the servers that do not run a group do for it: the standby scripts of its resources.

Called by the loop of standby scripts. Nothing here, and nothing that comes of it, has any influence
on the group: it follows what the owner says, and nobody waits for it.
"""

from reconciler.decide.circumstances import listed_servers
from reconciler.decide.membership import Standing, standing
from reconciler.decide.records import Phase
from reconciler.decide.snapshot import Snapshot

STANDBY_START, STANDBY_STOP = "standby-start", "standby-stop"


def standby_wish(snapshot: Snapshot, group: str) -> tuple[str, int] | None:
    """(action, epoch) that a standby server should have run last; None where nothing is to be done
    now: the group is ours, starts somewhere, or what it does is not known."""
    stored = snapshot.ownerships.get(group)
    if stored is None or snapshot.me not in listed_servers(snapshot, group):
        return None
    record = stored.record
    if record.owner is None:
        return STANDBY_STOP, record.epoch
    if record.owner == snapshot.me or standing(snapshot, record.owner) is not Standing.ONLINE:
        return None
    status = snapshot.group_status.get((record.owner, group))
    known = status is not None and status.epoch == record.epoch
    if record.releasing or (known and status is not None and status.phase in _GOING):
        return STANDBY_STOP, record.epoch
    if known and status is not None and status.phase is Phase.ONLINE:
        return STANDBY_START, record.epoch
    return None


def is_due(wish: tuple[str, int] | None, last: tuple[str, int] | None) -> bool:
    """A start once for each epoch; a stop only after a start."""
    if wish is None or wish == last:
        return False
    if wish[0] == STANDBY_START:
        return True
    return last is not None and last[0] == STANDBY_START


_GOING = (Phase.STOPPING, Phase.OFFLINE, Phase.FAILED)
