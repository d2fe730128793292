"""The two disks of a hybrid disk, one in each server group: who has one now, and for how long that
holds what was read from one that nobody has.

Called by `settling`, by operators' wishes about mirrors, and by the loop that reads such a disk.
"""

from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import is_over


def holder(snapshot: Snapshot, group: str, server: str) -> str | None:
    """Who has, or may still have, the disk of this server's server group; None: nobody has."""
    pairing = snapshot.specs.pairings.get(group)
    site = pairing.site_of(server) if pairing is not None else None
    if pairing is None or site is None:
        return None
    for name in (group, pairing.partner):
        stored = snapshot.ownerships.get(name)
        record = stored.record if stored else None
        if record is None or pairing.site_of(record.owner) != site:
            continue
        if not is_over(snapshot, record):
            return record.owner
    return None


def roles(snapshot: Snapshot, group: str) -> tuple[int, int] | None:
    """The epochs of the group and of its derived one: as long as they stay, nobody gets a disk.
    None when they are not known, and for groups without a hybrid disk."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None:
        return None
    keys, names = Keys(snapshot.specs.cluster.metadata.name), (group, pairing.partner)
    if unreadable(snapshot, *(key(name) for name in names for key in (keys.group, keys.release))):
        return None
    main, other = (snapshot.ownerships.get(name) for name in names)
    return (main.record.epoch if main else 0, other.record.epoch if other else 0)


def at_rest(snapshot: Snapshot, group: str, server: str) -> tuple[int, int] | None:
    """The `roles` under which nobody has the disk of this server's server group: what is read from
    it from now on stays true while they stay the same. None when somebody may have it."""
    pairing = snapshot.specs.pairings.get(group)
    if pairing is None or pairing.site_of(server) is None:
        return None
    return roles(snapshot, group) if holder(snapshot, group, server) is None else None
