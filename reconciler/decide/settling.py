"""Who has all data of a mirrored disk after the store came out of a backup: its record may name a
side that has been stale ever since.

Both sides say which generations of data they have and had; nobody serves meanwhile, so that stays
true. Only when that leaves no doubt is the record written anew, at an epoch of the new generation
of the store; everybody refuses older ones. The rest is for a person: `mirror promote`.

Of a hybrid disk one side has a server that follows, whose engine says it. On the disk of the other
side nobody writes, so its servers read it; that counts while neither role was given anew since.
"""

from collections.abc import Sequence

from reconciler.decide.actions import Reason, Write
from reconciler.decide.copies import is_unsettled, mirror_status, side_of
from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.placement import listed_servers
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import MirrorRecord
from reconciler.decide.shared_sides import at_rest, holder, roles
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import partner_depends
from reconciler.decide.store_life import first_epoch, generation, waiting
from specs.resource import Resource


def settle_mirrors(snapshot: Snapshot, keys: Keys) -> list[Write]:
    """New records for those from before the restore, and for those that it did not bring back."""
    if generation(snapshot) == 0 or waiting(snapshot) is not None:
        return []
    found = []
    told = {name for _, name in snapshot.mirror_status}
    for name in sorted(told.union(snapshot.mirrors)):
        resource = snapshot.specs.resources.get(name)
        if resource is not None and is_unsettled(snapshot, name):
            write = _settle(snapshot, keys, resource)
            found.extend([write] if write else [])
    return found


def _settle(snapshot: Snapshot, keys: Keys, resource: Resource) -> Write | None:
    name, group = resource.metadata.name, resource.spec.group
    spec, owned = snapshot.specs.groups.get(group), snapshot.ownerships.get(group)
    if spec is None or unreadable(snapshot, keys.group(group), keys.release(group)) is not None:
        return None
    owner = owned.record if owned is not None and owned.record.owner is not None else None
    if owner is not None and proof_of_stop(snapshot, owner) is None:
        return None
    servers = listed_servers(snapshot, spec.spec)
    shared = group in snapshot.specs.pairings
    sides = (_shared if shared else _own)(snapshot, resource, servers)
    holders = holders_of(sides)
    if not holders:
        return None
    stored, release = snapshot.mirrors.get(name), snapshot.releases.get(group)
    nothing = MirrorRecord(resource=name, servers=(), generation="", epoch=0)
    record = (stored.record if stored else nothing).model_copy(
        update={
            "servers": holders,
            "generation": sides[holders[0]].generation,
            "epoch": first_epoch(snapshot),
            "at_wall": snapshot.wall,
        }
    )
    reason = Reason.of(
        "mirror_settled",
        resource=name,
        group=group,
        servers=list(holders),
        generation=record.generation,
    )
    depends = (
        (keys.group(group), owned.mod_revision if owned else 0),
        (keys.release(group), release.mod_revision if release else 0),
        *partner_depends(snapshot, keys, group),
    )
    expected = stored.mod_revision if stored else 0
    return Write(keys.mirror(name), record, expected, reason, depends)


def _own(snapshot: Snapshot, resource: Resource, servers: Sequence[str]) -> dict[str, MirrorStatus]:
    """What each server says of its own side; nothing unless all of them do."""
    sides: dict[str, MirrorStatus] = {}
    for server in servers:
        status = _told(snapshot, resource, server)
        if status is None or status.serving or not status.engine:
            return {}
        side = side_of(snapshot, resource, server)
        if side is not None:
            sides.setdefault(side, status)
    return sides


def _shared(
    snapshot: Snapshot, resource: Resource, servers: Sequence[str]
) -> dict[str, MirrorStatus]:
    """What is known of the disk of each server group: by the engine of the one server that has it,
    or by those that read it while nobody has. Nothing if two of them read different things."""
    sides: dict[str, MirrorStatus] = {}
    group, known = resource.spec.group, roles(snapshot, resource.spec.group)
    for server in servers:
        status, side = _told(snapshot, resource, server), side_of(snapshot, resource, server)
        if status is None or side is None or known is None or status.roles != known:
            continue
        if status.serving:
            return {}
        has_it = status.engine and holder(snapshot, group, server) == server
        if not has_it and not (status.at_rest and at_rest(snapshot, group, server) == known):
            continue
        if side in sides and _content(sides[side]) != _content(status):
            return {}
        sides.setdefault(side, status)
    return sides


def _told(snapshot: Snapshot, resource: Resource, server: str) -> MirrorStatus | None:
    """Since the store was restored."""
    status = mirror_status(snapshot, server, resource.metadata.name)
    fresh = status is not None and status.store_generation == generation(snapshot)
    return status if fresh else None


def _content(status: MirrorStatus) -> tuple[object, ...]:
    return (status.generation, status.ancestors, status.consistent, status.discard, status.served)


def holders_of(sides: dict[str, MirrorStatus]) -> tuple[str, ...]:
    """Of two sides those with all data that was ever acknowledged; none when that is in doubt."""
    if len(sides) != 2:
        return ()
    (a, one), (b, other) = sorted(sides.items())
    if not (_has_data(one) and _has_data(other)):
        # The unfinished target of a copy, or a side that never had any: the other one is whole.
        whole = [name for name, status in ((a, one), (b, other)) if _has_data(status)]
        return tuple(whole) if not (one.unfit or other.unfit) else ()
    if one.generation == other.generation:
        # In the order of writes, but behind: the one that served has the last ones. It may have
        # stopped in order before the other one had them: then it knows which those are.
        ahead = [name for name, status in ((a, one), (b, other)) if status.served or status.to_copy]
        behind = (one.asynchronous or other.asynchronous) and len(ahead) == 1
        return tuple(ahead) if behind else (a, b)
    if one.generation in other.ancestors:
        return (b,)
    return (a,) if other.generation in one.ancestors else ()


def _has_data(status: MirrorStatus) -> bool:
    whole = status.consistent and not status.unfit
    return whole and not status.fresh and not status.discard
