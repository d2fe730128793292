"""The one decision function: fixed order of rules, all branching by role here.

Called by the agent's act loop, by the simulator and by the impact preview. Equal snapshots give
equal decisions, byte for byte.
"""

from dataclasses import replace

from reconciler.decide.actions import (
    AskMembers,
    Decision,
    Effect,
    MoveStoreLeader,
    Reason,
    Write,
)
from reconciler.decide.cancelling import plan_cancels
from reconciler.decide.draining import end_of_cordons
from reconciler.decide.fence_execution import claims
from reconciler.decide.fencing import FencingPlan, plan_fencing, wished
from reconciler.decide.group_case import GroupCase, GroupPlan, new_failures, unreadable_case
from reconciler.decide.holding import end_of_holds
from reconciler.decide.keys import Keys
from reconciler.decide.leases import plan_local
from reconciler.decide.membership import Role, Standing, role, standing, unreadable
from reconciler.decide.operations import (
    OperationsPlan,
    operation_for,
    plan_operations,
    stopped_resources,
)
from reconciler.decide.ownership import plan_deleted, plan_group
from reconciler.decide.placement import owners
from reconciler.decide.power_on import PowerOnPlan, plan_power_on
from reconciler.decide.preparation import groups_to_prepare
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import (
    FenceIntent,
    FenceRecord,
    Hold,
    Ownership,
    Phase,
    Verdict,
)
from reconciler.decide.settling import settle_mirrors
from reconciler.decide.snapshot import Snapshot, Stored
from reconciler.decide.store_leader import better_leader, members_known
from reconciler.decide.store_life import doubt, forget_owner, plan_store, waiting

# A transaction also compares and reads back what it depends on; etcd's default limit is 128.
WRITES_PER_DECISION = 25


def decide(snapshot: Snapshot) -> Decision:
    """Everything this server should do now, and when to look again at the latest."""
    keys = Keys(snapshot.specs.cluster.metadata.name)
    mine = role(snapshot)
    if unreadable(snapshot, keys.coordinator, keys.fence_slot) is not None:
        mine = Role.NONE  # somebody newer may decide, or be fencing us
    if doubt(snapshot) is not None:
        mine = Role.NONE
    fencing = plan_fencing(snapshot, keys, mine, cold=barrier_reason(snapshot) is not None)
    local = plan_local(snapshot, keys)
    base = Decision(
        own_writes=local.releases + claims(snapshot, keys),
        effects=fencing.effects + local.effects,
        local=local.wants,
        wake_at=_earliest(snapshot, fencing.wake_at),
    )
    if mine is Role.NONE:
        return replace(base, own_writes=base.own_writes + fencing.results)
    if mine is Role.DEPUTY:
        return _as_deputy(snapshot, base, fencing)
    if _victim(fencing.intent) == snapshot.me:
        # An operator asked for it. Who is being fenced decides nothing, not even together with it.
        own = base.own_writes + fencing.challenges
        fenced = replace(base, own_writes=own, writes=(fencing.intent,) if fencing.intent else ())
        return replace(fenced, take_coordinator=mine is Role.VACANT)
    return _as_coordinator(snapshot, keys, base, fencing, vacant=mine is Role.VACANT)


def _victim(intent: Write | None) -> str | None:
    record = intent.record if intent is not None else None
    return record.victim if isinstance(record, FenceIntent) else None


def decide_locally(snapshot: Snapshot) -> Decision:
    """What `decide` says of this server's own groups, without the rest: it is asked at each change,
    and a grant must not wait for verdicts about other groups. Only this one says what to `prepare`.
    """
    keys = Keys(snapshot.specs.cluster.metadata.name)
    local = plan_local(snapshot, keys)
    prepare = groups_to_prepare(snapshot)
    return Decision(effects=local.effects, local=local.wants, prepare=prepare)


def _as_deputy(snapshot: Snapshot, base: Decision, fencing: FencingPlan) -> Decision:
    """Challenge at once; depose only together with the intent to fence the old coordinator."""
    own = base.own_writes + fencing.results + fencing.challenges
    holder = snapshot.coordinator
    intent = fencing.intent
    if intent is None or holder is None or _victim(intent) != holder.record.server:
        return replace(base, own_writes=own)
    reason = Reason.of("coordinator_deposed", server=holder.record.server)
    return replace(base, own_writes=own, writes=(intent,), take_coordinator=True, reasons=(reason,))


def _as_coordinator(
    snapshot: Snapshot, keys: Keys, base: Decision, fencing: FencingPlan, *, vacant: bool
) -> Decision:
    known = _with_results(snapshot, fencing.results)
    writes: list[Write] = list(fencing.results)
    if fencing.intent is not None:
        writes.append(fencing.intent)
    if (life := plan_store(known, keys)) is not None:
        writes.append(life)
    fenced = {w.record.server for w in fencing.results if isinstance(w.record, FenceRecord)}
    cancels = plan_cancels(known, keys)
    operations = plan_operations(known, keys, fenced, cancels.ended)
    known = _with_holds(known, operations.writes)
    barrier = None if operations.bypass else barrier_reason(known)
    wake = list(fencing.wake_at)
    if barrier is not None:
        wake.append(_barrier_end(known))
    # A slot that is freed right here leaves nothing to say about what is blocked until next time.
    blocked = None if fencing.results else dict(fencing.blocked)
    planned = owners(known)  # all groups are planned together: later ones know of earlier grants
    for name in sorted(known.specs.groups):
        if unreadable(known, keys.verdict(name)) is not None:
            continue
        plan, case = _group(known, keys, name, blocked, barrier, operations, planned)
        if plan.ownership is not None and isinstance(plan.ownership.record, Ownership):
            owner = plan.ownership.record.owner
            planned = {**planned, name: owner} if owner else _without(planned, name)
        writes.extend(_writes_of(known, keys, plan, case))
        if plan.wake_at is not None:
            wake.append(plan.wake_at)
    for name in sorted(set(known.ownerships) - set(known.specs.groups)):
        known_case = unreadable_case(known, keys, name) is None and waiting(known) is None
        gone = forget_owner(known, keys, name) if known_case else None
        gone = gone or (plan_deleted(known, keys, name) if known_case else None)
        writes.extend([gone] if gone else [])
    writes.extend((*cancels.writes, *operations.writes))
    told = {write.key for write in operations.writes}
    cares = (end_of_cordons, end_of_holds, settle_mirrors)
    ended = (write for care in cares for write in care(known, keys))
    writes.extend(w for w in ended if w.key not in told)
    power_on = PowerOnPlan()
    if not fencing.results and not any(isinstance(w.record, FenceRecord) for w in writes):
        room = WRITES_PER_DECISION - len(writes)
        power_on = plan_power_on(snapshot, keys, wished(snapshot), room)
    writes.extend(power_on.writes)
    wake.extend(power_on.wake_at)
    return replace(
        base,
        # Challenges must not wait for, or fail with, anything else.
        own_writes=base.own_writes + fencing.challenges,
        writes=tuple(writes[:WRITES_PER_DECISION]),
        take_coordinator=vacant,
        effects=base.effects + operations.effects + _care_for_store(known),
        after_commit=power_on.effects,
        reasons=(Reason.of("coordinator_taken", server=snapshot.me),) if vacant else (),
        wake_at=_earliest(snapshot, tuple(wake)),
    )


def _care_for_store(snapshot: Snapshot) -> tuple[Effect, ...]:
    if not members_known(snapshot):
        return (AskMembers(),)
    target = better_leader(snapshot)
    return (MoveStoreLeader(target),) if target is not None else ()


def _with_results(snapshot: Snapshot, results: tuple[Write, ...]) -> Snapshot:
    """The snapshot as it will be once this decision's own fence results are stored with it."""
    if not results:
        return snapshot
    fences = dict(snapshot.fences)
    for write in results:
        if isinstance(write.record, FenceRecord):
            fences[write.record.server] = Stored(write.record, write.expected, snapshot.now)
    return replace(snapshot, fences=fences, fence_slot=None)


def _with_holds(snapshot: Snapshot, writes: tuple[Write, ...]) -> Snapshot:
    """A hold that this very decision records counts in it: else a group that must stop without the
    agent could be granted to the server together with its hold, which would then not bind."""
    new = {
        write.record.server: Stored(write.record, write.expected, snapshot.now)
        for write in writes
        if isinstance(write.record, Hold)
    }
    return replace(snapshot, holds={**snapshot.holds, **new}) if new else snapshot


def _group(
    snapshot: Snapshot,
    keys: Keys,
    name: str,
    blocked: dict[str, str] | None,
    barrier: str | None,
    operations: OperationsPlan,
    planned: dict[str, str],
) -> tuple[GroupPlan, GroupCase]:
    stored = snapshot.ownerships.get(name)
    record = stored.record if stored else None
    failures = () if name in operations.cleared else new_failures(snapshot, record, name)
    case = GroupCase(
        snapshot=snapshot,
        keys=keys,
        name=name,
        spec=snapshot.specs.groups[name].spec,
        record=record,
        failures=failures,
        operation=operation_for(snapshot, name, operations.ended),
        blocked=blocked,
        barrier=barrier,
        planned=planned,
    )
    problem = unreadable_case(snapshot, keys, name)
    if problem is not None:
        verdict = Verdict(group=name, phase=Phase.BLOCKED, reasons=(problem,), failures=failures)
        return GroupPlan(verdict=verdict), case
    if (wait := waiting(snapshot)) is not None:
        blocked_by = Verdict(
            group=name, phase=Phase.BLOCKED, reasons=(wait[0],), next_command=wait[1]
        )
        return GroupPlan(verdict=blocked_by), case
    if (forgotten := forget_owner(snapshot, keys, name)) is not None:
        return GroupPlan(ownership=forgotten, keep_verdict=True), case
    return plan_group(case), case


def _without(planned: dict[str, str], group: str) -> dict[str, str]:
    return {name: owner for name, owner in planned.items() if name != group}


def _writes_of(snapshot: Snapshot, keys: Keys, plan: GroupPlan, case: GroupCase) -> list[Write]:
    writes = [plan.ownership] if plan.ownership else []
    if plan.ownership is None and case.record is not None and case.record.owner is not None:
        stopped = stopped_resources(snapshot, case.name, case.record)
        if stopped != case.record.stopped_resources:
            record = case.record.model_copy(update={"stopped_resources": stopped})
            stored = snapshot.ownerships[case.name]
            reason = Reason.of("resources_stopped", group=case.name, resources=list(stopped))
            writes.append(Write(keys.group(case.name), record, stored.mod_revision, reason))
    if plan.keep_verdict and not case.failures:
        return writes
    verdict = plan.verdict
    stored_verdict = snapshot.verdicts.get(case.name)
    if plan.keep_verdict and stored_verdict is not None:
        verdict = stored_verdict.record.model_copy(update={"failures": case.failures})
    write = _verdict_write(keys, case.name, verdict, stored_verdict)
    return [*writes, write] if write else writes


def _verdict_write(
    keys: Keys, name: str, verdict: Verdict | None, stored: Stored[Verdict] | None
) -> Write | None:
    if verdict is None:
        return Write(keys.verdict(name), None, stored.mod_revision) if stored else None
    verdict = verdict.model_copy(update={"nonce": ""})
    if stored is not None and stored.record.model_copy(update={"nonce": ""}) == verdict:
        return None
    changed = stored is None or (stored.record.phase, stored.record.reasons) != (
        verdict.phase,
        verdict.reasons,
    )
    reason = Reason.of(
        "group_judged", group=name, phase=verdict.phase.value, reasons=list(verdict.reasons)
    )
    expected = stored.mod_revision if stored else 0
    return Write(keys.verdict(name), verdict, expected, reason if changed else None)


def barrier_reason(snapshot: Snapshot) -> str | None:
    """At a cold start nothing is started until every server is here or the time is over."""
    for stored in snapshot.ownerships.values():
        if _is_here(snapshot, stored.record) and proof_of_stop(snapshot, stored.record) is None:
            return None
    missing = [
        name
        for name in sorted(snapshot.specs.servers)
        if standing(snapshot, name) in (Standing.OFFLINE, Standing.STORE_ISOLATED, Standing.FENCED)
        or _never_heard(snapshot, name)
    ]
    if not missing or snapshot.now >= _barrier_end(snapshot):
        return None
    return f"startup barrier: waiting for {', '.join(missing)}"


def _is_here(snapshot: Snapshot, record: Ownership) -> bool:
    """The boot to which the group was granted is heard right now, so this is no cold start. Its
    session alone says nothing: it may be left from before a power loss."""
    if record.owner == snapshot.me:
        return record.boot_id == snapshot.boot_id
    peer = snapshot.peers.peers.get(record.owner or "")
    return peer is not None and not peer.silent and peer.boot_id == record.boot_id


def _never_heard(snapshot: Snapshot, server: str) -> bool:
    """Not since this agent began: a session may be left from before the power loss, for etcd
    prolongs all leases when it comes back."""
    peer = snapshot.peers.peers.get(server)
    return server != snapshot.me and (peer is None or peer.heard_at is None)


def _barrier_end(snapshot: Snapshot) -> float:
    holder = snapshot.coordinator
    mine = holder is not None and holder.record.server == snapshot.me
    since = holder.seen_at if holder is not None and mine else snapshot.now
    return since + snapshot.specs.cluster.spec.startup_barrier


def _earliest(snapshot: Snapshot, times: tuple[float, ...]) -> float | None:
    ahead = [t for t in times if t > snapshot.now]
    slot = snapshot.fence_slot
    if slot is not None and not slot.record.closed:
        ahead.append(slot.seen_at + slot.record.valid_for_s * 1.25 + 0.001)
    later = [t for t in ahead if t > snapshot.now]
    return min(later) if later else None
