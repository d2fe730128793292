"""What one group is judged by, and how a judgement is written down: shared by `ownership`, which
branches, and `granting`, which gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.decide.actions import Reason, Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    unreadable,
)
from reconciler.decide.placement import rivals
from reconciler.decide.records import (
    Candidate,
    Failure,
    Operation,
    Ownership,
    Phase,
    Proof,
    Verdict,
)
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import partner_depends
from specs.group import GroupSpec

FAILED_PREFIX = "failed: "
RESTARTED = "the server was restarted"
DELETED = "the group was deleted"
MONITOR_PREFIX = "monitor "
"""Whose wish a final action is: `monitor NAME on SERVER`."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """New ownership (None = as it is) and the verdict that should stand (None = nothing to say).

    `keep_verdict` leaves a stored verdict alone: this cycle does not know better.
    """

    ownership: Write | None = None
    verdict: Verdict | None = None
    keep_verdict: bool = False
    wake_at: float | None = None


@dataclass(frozen=True, slots=True)
class GroupCase:
    """One group's inputs, gathered once."""

    snapshot: Snapshot
    keys: Keys
    name: str
    spec: GroupSpec
    record: Ownership | None
    failures: tuple[Failure, ...]
    operation: Operation | None
    blocked: Mapping[str, str] | None
    barrier: str | None
    planned: Mapping[str, str] | None = None  # owners after this decision, as far as it is made

    @property
    def owner(self) -> str | None:
        return self.record.owner if self.record else None


def unreadable_case(snapshot: Snapshot, keys: Keys, name: str) -> str | None:
    """Why nothing can be decided about this group; None if all that it rests on can be read."""
    stored = snapshot.ownerships.get(name)
    owner = stored.record.owner if stored else None
    fence = (keys.fence(owner),) if owner else ()
    return unreadable(snapshot, keys.group(name), keys.release(name), *fence)


def new_failures(snapshot: Snapshot, record: Ownership | None, name: str) -> tuple[Failure, ...]:
    """Failures known of a group, with the one that the last release reports."""
    stored = snapshot.verdicts.get(name)
    known = stored.record.failures if stored else ()
    release = snapshot.releases.get(name)
    if record is None or release is None or release.record.epoch != record.epoch:
        return known
    if record.cause == DELETED:
        return ()  # applied again, it begins like a new one
    cause = release.record.cause
    if not cause.startswith(FAILED_PREFIX) or any(f.epoch == record.epoch for f in known):
        return known
    reason = cause.removeprefix(FAILED_PREFIX)
    failure = Failure(
        server=release.record.server, epoch=record.epoch, reason=reason, at_wall=snapshot.wall
    )
    return (*known, failure)[-20:]


def ownership_write(
    snapshot: Snapshot, keys: Keys, name: str, record: Ownership, reason: Reason
) -> Write:
    stored = snapshot.ownerships.get(name)
    release = snapshot.releases.get(name)
    depends = [(keys.release(name), release.mod_revision if release else 0)]
    if record.owner is not None and (stored is None or record.epoch != stored.record.epoch):
        session = snapshot.sessions.get(record.owner)
        depends.append((keys.session(record.owner), session.mod_revision if session else 0))
        depends.extend(partner_depends(snapshot, keys, name))
        for rival in rivals(snapshot, name):
            there = snapshot.ownerships.get(rival)
            depends.append((keys.group(rival), there.mod_revision if there else 0))
    former = stored.record.owner if stored else None
    if (
        stored is not None
        and former
        and (record.owner, record.epoch) != (former, stored.record.epoch)
    ):
        fence = snapshot.fences.get(former)
        depends.append((keys.fence(former), fence.mod_revision if fence else 0))
        if record.proof in (Proof.EXPIRED, Proof.NONE):
            depends.append((keys.session(former), 0))
    return Write(
        key=keys.group(name),
        record=record,
        expected=stored.mod_revision if stored else 0,
        reason=reason,
        depends=tuple(depends),
    )


def verdict_of(
    case: GroupCase,
    phase: Phase,
    reasons: tuple[str, ...],
    found: tuple[Candidate, ...] = (),
    next_command: str = "",
) -> Verdict:
    return Verdict(
        group=case.name,
        phase=phase,
        reasons=reasons,
        candidates=found,
        next_command=next_command,
        failures=case.failures,
    )


def quiet(case: GroupCase) -> Verdict | None:
    """Nothing to say but the failures that still count."""
    return verdict_of(case, Phase.ONLINE, ()) if case.failures else None
