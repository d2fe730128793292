"""Which groups will probably come to this server next, so that it can get ready: a hint, no right.

Nothing is activated for it. Being wrong costs a few milliseconds, here or at the start.
"""

from reconciler.decide.placement import Placing, candidates, choose
from reconciler.decide.records import Ownership, Wanted
from reconciler.decide.snapshot import Snapshot


def groups_to_prepare(snapshot: Snapshot) -> dict[str, str]:
    """Group and what is going on with its owner: `doubted`, `releasing` or `released`. What could
    not be made ready at one stage may be at the next."""
    found = {}
    for group, stored in sorted(snapshot.ownerships.items()):
        stage = _stage(snapshot, group, stored.record)
        if stage is not None and _likely_taker(snapshot, group, stored.record) == snapshot.me:
            found[group] = stage
    return found


def _stage(snapshot: Snapshot, group: str, record: Ownership) -> str | None:
    if record.owner in (None, snapshot.me) or record.wanted is Wanted.OFFLINE:
        return None
    release = snapshot.releases.get(group)
    if release is not None and release.record.epoch == record.epoch:
        return "released"
    if record.releasing:
        return "releasing"
    peer = snapshot.peers.peers.get(record.owner or "")
    return "doubted" if peer is not None and (peer.suspect or peer.silent) else None


def _likely_taker(snapshot: Snapshot, group: str, record: Ownership) -> str | None:
    """As `ownership` will choose, as far as that can be known before the proof."""
    if group not in snapshot.specs.groups:
        return None
    operation = snapshot.operations.get(record.operation) if record.operation else None
    verdict = snapshot.verdicts.get(group)
    placing = Placing(
        failures=verdict.record.failures if verdict else (),
        previous=record.owner,
        by_operator=operation is not None,
        failover=True,
    )
    found = candidates(snapshot, group, placing)
    wished = operation.record.to if operation else None
    elsewhere = tuple(candidate for candidate in found if candidate.server != record.owner)
    chosen = choose(found, wished) if wished else choose(elsewhere)
    return chosen.server if chosen else None
