"""Is this the store that this server knows, and what follows when it was restored from a backup?

A restored store names owners of long ago. Invariants: nobody acts on it before a person said `store
restored`; after that nothing is granted until each server is proven to run nothing of before (its
own session of the new generation, or a fence); epochs of the new generation are above all others.
"""

from reconciler.decide.actions import Reason, Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import proven_off, session_of, unreadable
from reconciler.decide.records import Ownership, Phase, Proof, StoreLife
from reconciler.decide.snapshot import Snapshot

COUNTER_BITS = 48
LAST_GENERATION = (1 << 16) - 1
RESTORED = "the store was restored from a backup"
NEXT = "clusterctl store restored"


def generation(snapshot: Snapshot) -> int:
    return snapshot.store_life.record.generation if snapshot.store_life else 0


def first_epoch(snapshot: Snapshot) -> int:
    """No epoch up to this one is granted or activated any more."""
    return generation(snapshot) << COUNTER_BITS


def any_boot(number: int) -> str:
    """Stands for whatever boot a server had when the store was restored: a fence that covers it
    ended all of them."""
    return f"before-generation-{number}"


def doubt(snapshot: Snapshot) -> str | None:
    """Why this server must not act on this store; None if it may."""
    if snapshot.unreadable:
        keys = Keys(snapshot.specs.cluster.metadata.name)
        if (problem := unreadable(snapshot, keys.store_life)) is not None:
            return problem
    life = snapshot.store_life.record if snapshot.store_life else None
    known, here = snapshot.known_store, snapshot.store_id
    if not here:
        return None  # a store without identity: only those of tests
    if life is not None and life.store_id != here:
        return f"{RESTORED}, and nobody has said so yet: {NEXT}"
    if known is None or (life is not None and life.generation > known.generation):
        return None
    if known.store_id != here:
        return f"this is not the store that this server knows: {NEXT}"
    if life is not None and life.generation < known.generation:
        return f"the store is of generation {life.generation}, {known.generation} was here before"
    if snapshot.revision < known.revision:
        return f"the store went back from revision {known.revision} to {snapshot.revision}"
    return None


def left_from_before(snapshot: Snapshot) -> list[str]:
    """Groups that may still run here at an epoch from before the store was restored."""
    floor = first_epoch(snapshot)
    return [
        name
        for name, local in sorted(snapshot.local_groups.items())
        if local.epoch < floor and local.phase is not Phase.OFFLINE
    ]


def in_doubt(snapshot: Snapshot, server: str) -> bool:
    """This server may still run something from before the restore."""
    return snapshot.store_life is not None and server in snapshot.store_life.record.doubted


def waiting(snapshot: Snapshot) -> tuple[str, str] | None:
    """(why nothing can be granted yet after a restore, next command); None when all is proven."""
    life = snapshot.store_life
    if life is None or not life.record.doubted:
        return None
    names = ", ".join(life.record.doubted)
    text = f"{RESTORED}; not proven yet that nothing from before runs on {names}"
    return text, f"clusterctl fence confirm {life.record.doubted[0]}"


def plan_store(snapshot: Snapshot, keys: Keys) -> Write | None:
    """The coordinator's change of the store's own record: made once; servers that are proven to
    run nothing from before leave its list."""
    life = snapshot.store_life
    if life is None:
        if not snapshot.store_id:
            return None
        known = snapshot.known_store
        new = StoreLife(store_id=snapshot.store_id, generation=known.generation if known else 0)
        return Write(keys.store_life, new, 0)
    if not life.record.doubted:
        return None
    depends: list[tuple[str, int]] = []
    cleared = []
    for server in life.record.doubted:
        session, fence = session_of(snapshot, server), snapshot.fences.get(server)
        if session is not None and session.record.generation == life.record.generation:
            depends.append((keys.session(server), session.mod_revision))
            cleared.append(server)
        elif fence is not None and proven_off(snapshot, server, any_boot(life.record.generation)):
            depends.append((keys.fence(server), fence.mod_revision))
            cleared.append(server)
    if not cleared:
        return None
    left = tuple(name for name in life.record.doubted if name not in cleared)
    record = life.record.model_copy(update={"doubted": left})
    reason = Reason.of("servers_cleared", servers=cleared, left=list(left))
    return Write(keys.store_life, record, life.mod_revision, reason, tuple(depends))


def forget_owner(snapshot: Snapshot, keys: Keys, name: str) -> Write | None:
    """A record from before the restore, now that every server is proven: nobody owns the group."""
    stored, floor = snapshot.ownerships.get(name), first_epoch(snapshot)
    if stored is None or stored.record.epoch >= floor or snapshot.store_life is None:
        return None
    new = Ownership(
        group=name,
        epoch=floor,
        wanted=stored.record.wanted,
        stopped_resources=stored.record.stopped_resources,
        on_store_loss=stored.record.on_store_loss,
        proof=Proof.RELEASED,
        cause=RESTORED,
        previous_owner=stored.record.owner or stored.record.previous_owner,
        since_wall=snapshot.wall,
    )
    depends = ((keys.store_life, snapshot.store_life.mod_revision),)
    reason = Reason.of("owner_forgotten", group=name, server=stored.record.owner)
    return Write(keys.group(name), new, stored.mod_revision, reason, depends)
