"""What this server may and must do with the groups it owns.

Invariants: nothing is activated without a proven session and an ownership at exactly this epoch;
an epoch that was given up is never activated again; a server that others proved off runs nothing.
"""

from dataclasses import dataclass

from reconciler.decide.actions import Effect, LocalWant, Reason, ResetSelf, Want, Write
from reconciler.decide.expiry import STOP, broken_terms
from reconciler.decide.group_case import FAILED_PREFIX, RESTARTED
from reconciler.decide.holding import plan_own_hold
from reconciler.decide.keys import Keys
from reconciler.decide.machine_actions import plan_machine
from reconciler.decide.membership import (
    hears_majority,
    named_in_slot,
    proven_off,
    session_proven,
    unreadable,
)
from reconciler.decide.records import Ownership, Phase, Release
from reconciler.decide.snapshot import LocalGroup, Snapshot
from reconciler.decide.store_life import RESTORED, doubt, first_epoch


@dataclass(frozen=True, slots=True)
class LocalPlan:
    wants: dict[str, LocalWant]
    releases: tuple[Write, ...] = ()
    effects: tuple[Effect, ...] = ()


def is_isolated(snapshot: Snapshot) -> bool:
    """No lease proof for the dead-man time, and too few servers heard to believe that the store
    is away for all: under `keep` this is the case that stops."""
    dead_man = snapshot.specs.timing.dead_man
    stale_for = snapshot.now - snapshot.proof_at
    return stale_for > dead_man and not hears_majority(snapshot, within_s=dead_man / 2)


def is_unproven(snapshot: Snapshot) -> bool:
    """Half of the dead-man time is over: what must not run without the store is stopped in order
    now, while there is time; at its end the pulse kills it. An agent that has just been started
    has not lost the store: it is given a little longer to make its session."""
    part = 0.75 if snapshot.own_session is None else 0.5
    return snapshot.now - snapshot.proof_at > snapshot.specs.timing.dead_man * part


def is_overdue(snapshot: Snapshot) -> bool:
    """The lease may live on for a while, but the dead-man would end what is started now."""
    return snapshot.now - snapshot.proof_at > snapshot.specs.timing.dead_man


def may_activate(snapshot: Snapshot, group: str, epoch: int) -> str | None:
    """None if this server may start resources of the group at this epoch now, else why not."""
    if not session_proven(snapshot):
        return "the session is not proven"
    if is_overdue(snapshot):
        return "the session was not proven within the dead-man time"
    if snapshot.peers.paused or snapshot.proof_at <= snapshot.stood_still_at:
        return "this server stood still; its session must be proven again"
    if not snapshot.peers.pulse_alive:
        return "the pulse is not running"
    if snapshot.peers.condemned:
        return "a poison pill ended this boot"
    mine = snapshot.sessions.get(snapshot.me)
    if mine is not None and mine.record.watchdog_s and not snapshot.peers.watchdog_s:
        return "the watchdog that others rely on is not armed"
    if (problem := doubt(snapshot)) is not None:
        return problem
    if epoch <= first_epoch(snapshot) and first_epoch(snapshot):
        return f"epoch {epoch} is from before {RESTORED}"
    keys = Keys(snapshot.specs.cluster.metadata.name)
    needed = (keys.group(group), keys.release(group), keys.fence(snapshot.me), keys.fence_slot)
    if (problem := unreadable(snapshot, *needed)) is not None:
        return problem
    if named_in_slot(snapshot, snapshot.me):
        return "this server is being fenced"
    if proven_off(snapshot, snapshot.me, snapshot.boot_id):
        return "a fence declared this server off"
    stored = snapshot.ownerships.get(group)
    if stored is None or stored.record.owner != snapshot.me:
        return "another server owns the group"
    record = stored.record
    if record.epoch != epoch or record.boot_id != snapshot.boot_id:
        return f"epoch {epoch} is over"
    if record.releasing or snapshot.dropped_epochs.get(group, 0) >= epoch:
        return f"epoch {epoch} was given up"
    if (problem := broken_terms(snapshot, record)) is not None:
        return problem
    release = snapshot.releases.get(group)
    if release is not None and release.record.epoch >= epoch:
        return f"epoch {epoch} was released"
    return None


def plan_local(snapshot: Snapshot, keys: Keys) -> LocalPlan:
    """One wish for each group that is owned by, or still running on, this server."""
    if doubt(snapshot) is not None:
        return LocalPlan(_keep_in_doubt(snapshot))
    wants: dict[str, LocalWant] = {}
    releases: list[Write] = []
    effects: list[Effect] = []
    mine = {g for g, s in snapshot.ownerships.items() if s.record.owner == snapshot.me}
    for group in sorted(mine | set(snapshot.local_groups)):
        local = snapshot.local_groups.get(group)
        if unreadable(snapshot, keys.group(group), keys.release(group)) is not None:
            continue  # what runs goes on as it was told last; nothing is started or given up
        want = _want(snapshot, group, local)
        if want is None:
            continue
        wants[group] = want
        stuck = local is not None and local.stuck and want.want is not Want.RUN
        if local is not None and stuck and not _left_by_another_boot(snapshot, group):
            effects.append(ResetSelf(f"group {group} cannot be stopped: {local.stuck}"))
        release = _release(snapshot, keys, group, want, local)
        if release is not None:
            releases.append(release)
    effects.extend(plan_machine(snapshot))
    held, stretched = plan_own_hold(snapshot, keys)
    releases.extend(held)
    effects.extend(stretched)
    if snapshot.peers.condemned:
        effects.append(ResetSelf("a poison pill ended this boot"))
    running = any(g.phase is not Phase.OFFLINE for g in snapshot.local_groups.values())
    if proven_off(snapshot, snapshot.me, snapshot.boot_id) and not running:
        # Only a new boot can come back: the others rightly believe that this one is over.
        effects.append(ResetSelf("a fence declared this server off"))
    return LocalPlan(wants, tuple(releases), tuple(effects))


def _left_by_another_boot(snapshot: Snapshot, group: str) -> bool:
    """This boot has started nothing of the group, and the machine began anew already: it would only
    come back to the same, for ever. The group stays owned and blocked until it is seen stopped."""
    stored = snapshot.ownerships.get(group)
    mine = stored is not None and stored.record.owner == snapshot.me
    return mine and stored is not None and stored.record.boot_id != snapshot.boot_id


def _keep_in_doubt(snapshot: Snapshot) -> dict[str, LocalWant]:
    """What the store says is worth nothing: what runs goes on as it is, unless we are isolated."""
    if not is_isolated(snapshot):
        return {}
    return {
        group: LocalWant(Want.STOP, local.epoch, "this server is isolated")
        for group, local in sorted(snapshot.local_groups.items())
        if local.phase is not Phase.OFFLINE
    }


def _want(snapshot: Snapshot, group: str, local: LocalGroup | None) -> LocalWant | None:
    stored = snapshot.ownerships.get(group)
    record = stored.record if stored else None
    floor = first_epoch(snapshot)
    if local is not None and local.epoch < floor and local.phase is not Phase.OFFLINE:
        return LocalWant(Want.STOP, floor, RESTORED)
    if record is not None and record.epoch < floor:
        return None  # it names an owner of before; whoever owns the group is decided anew
    if record is None or record.owner != snapshot.me:
        if local is None or local.phase is Phase.OFFLINE:
            return None
        epoch = max(local.epoch, record.epoch if record else 0)
        return LocalWant(Want.STOP, epoch, "this server does not own the group")
    return _want_owned(snapshot, group, record, local)


def _want_owned(
    snapshot: Snapshot, group: str, record: Ownership, local: LocalGroup | None
) -> LocalWant:
    epoch = record.epoch
    release = snapshot.releases.get(group)
    if release is not None and release.record.epoch >= epoch:
        return LocalWant(Want.STOP, epoch, "released")
    if record.boot_id != snapshot.boot_id:
        return LocalWant(Want.RELEASE, epoch, RESTARTED)
    if proven_off(snapshot, snapshot.me, snapshot.boot_id):
        return LocalWant(Want.STOP, epoch, "a fence declared this server off")
    if local is not None and local.epoch == epoch and local.failure:
        return LocalWant(Want.RELEASE, epoch, FAILED_PREFIX + local.failure)
    if record.releasing or snapshot.dropped_epochs.get(group, 0) >= epoch:
        return LocalWant(Want.RELEASE, epoch, record.cause or "released")
    if is_isolated(snapshot):
        return LocalWant(Want.STOP, epoch, "this server is isolated")
    if record.on_store_loss == STOP and is_unproven(snapshot):
        return LocalWant(Want.STOP, epoch, "the store is lost, and the group must not run without")
    return LocalWant(Want.RUN, epoch, record.cause, record.stopped_resources)


def _release(
    snapshot: Snapshot, keys: Keys, group: str, want: LocalWant, local: LocalGroup | None
) -> Write | None:
    """The release may be written only after the epoch was dropped here for good and everything
    was observed stopped."""
    stopped = local is not None and local.phase is Phase.OFFLINE and local.epoch == want.epoch
    dropped = snapshot.dropped_epochs.get(group, 0) >= want.epoch
    if want.want is not Want.RELEASE or not stopped or not dropped:
        return None
    ownership = snapshot.ownerships[group]
    stored = snapshot.releases.get(group)
    record = Release(
        group=group,
        epoch=want.epoch,
        server=snapshot.me,
        boot_id=snapshot.boot_id,
        cause=want.cause,
    )
    reason = Reason.of("group_released", group=group, epoch=want.epoch, reason=want.cause)
    return Write(
        key=keys.release(group),
        record=record,
        expected=stored.mod_revision if stored else 0,
        reason=reason,
        depends=((keys.group(group), ownership.mod_revision),),
    )
