"""Who has all data of a mirrored disk after the store came out of a backup: its record may name a
side that has been stale ever since.

Both sides say which generations of data they have and had; nobody serves meanwhile, so that stays
true. Only when that leaves no doubt is the record written anew, at an epoch of the new generation
of the store; everybody refuses older ones. The rest is for a person: `mirror promote`.
"""

from reconciler.decide.actions import Reason, Write
from reconciler.decide.copies import is_of_before, mirror_status, side_of
from reconciler.decide.keys import Keys
from reconciler.decide.membership import unreadable
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.placement import listed_servers
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import first_epoch, generation, waiting
from specs.resource import Resource


def settle_mirrors(snapshot: Snapshot, keys: Keys) -> list[Write]:
    """New records for those from before the restore that can be settled now."""
    if waiting(snapshot) is not None:
        return []
    found = []
    for name, stored in sorted(snapshot.mirrors.items()):
        resource = snapshot.specs.resources.get(name)
        if resource is not None and is_of_before(snapshot, stored.record):
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
    sides: dict[str, MirrorStatus] = {}
    for server in listed_servers(snapshot, spec.spec):
        status = mirror_status(snapshot, server, name)
        fresh = status is not None and status.store_generation == generation(snapshot)
        if status is None or not fresh or status.serving or not status.engine:
            return None
        side = side_of(snapshot, resource, server)
        if side is not None:
            sides.setdefault(side, status)
    holders = holders_of(sides)
    if not holders:
        return None
    stored, release = snapshot.mirrors[name], snapshot.releases.get(group)
    record = stored.record.model_copy(
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
    )
    return Write(keys.mirror(name), record, stored.mod_revision, reason, depends)


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
        # In the order of writes, but behind: the one that served has the last ones.
        ahead = [name for name, status in ((a, one), (b, other)) if status.served]
        behind = (one.asynchronous or other.asynchronous) and len(ahead) == 1
        return tuple(ahead) if behind else (a, b)
    if one.generation in other.ancestors:
        return (b,)
    return (a,) if other.generation in one.ancestors else ()


def _has_data(status: MirrorStatus) -> bool:
    whole = status.consistent and not status.unfit
    return whole and not status.fresh and not status.discard
