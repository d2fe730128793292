"""Why an owner cannot run its group any more.

Invariant: silence, time without a watchdog, and a failed fence are none.
"""

from reconciler.decide.expiry import is_expired
from reconciler.decide.membership import (
    proven_off,
)
from reconciler.decide.records import (
    FenceOutcome,
    Ownership,
    Proof,
)
from reconciler.decide.snapshot import Snapshot


def proof_of_stop(snapshot: Snapshot, record: Ownership) -> Proof | None:
    """Why the owner of this record cannot run the group any more; None = it may still run."""
    if record.owner is None:
        return record.proof
    release = snapshot.releases.get(record.group)
    if (
        release is not None
        and release.record.epoch == record.epoch
        and release.record.server == record.owner
    ):
        return Proof.RELEASED
    if proven_off(snapshot, record.owner, record.boot_id):
        outcome = snapshot.fences[record.owner].record.proof_for(record.boot_id)
        person = outcome is FenceOutcome.CONFIRMED_BY_PERSON
        return Proof.CONFIRMED if person else Proof.FENCED
    return Proof.EXPIRED if is_expired(snapshot, record) else None
