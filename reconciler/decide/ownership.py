"""Who may run each group: the coordinator's decision, one group at a time.

Invariants: an owned group gets a new owner only with a proof that its group allows; every grant is
a new epoch; the proof, the target's session and the old record are compared in the transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.decide.actions import Reason, Write
from reconciler.decide.draining import DRAINED_PREFIX, cordon_of
from reconciler.decide.expiry import STOP, expires_at, grown_terms, is_expired, terms
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    Standing,
    agreed_silent,
    proven_off,
    session_of,
    standing,
    unreadable,
)
from reconciler.decide.placement import (
    Placing,
    candidates,
    choose,
    listed_servers,
    recent_failures,
)
from reconciler.decide.records import (
    Candidate,
    Cordon,
    Failure,
    FenceOutcome,
    Operation,
    OperationKind,
    Ownership,
    Phase,
    Proof,
    Verdict,
    Wanted,
)
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.store_life import first_epoch
from specs.group import GroupSpec

FAILED_PREFIX = "failed: "
RESTARTED = "the server was restarted"
DELETED = "the group was deleted"
MONITOR_PREFIX = "monitor "
"""Whose wish a final action is: `monitor NAME on SERVER`."""

FAILBACK_AFTER_S = 10.0


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
        outcome = snapshot.fences[record.owner].record.outcome
        person = outcome is FenceOutcome.CONFIRMED_BY_PERSON
        return Proof.CONFIRMED if person else Proof.FENCED
    return Proof.EXPIRED if is_expired(snapshot, record) else None


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
    cause = release.record.cause
    if not cause.startswith(FAILED_PREFIX) or any(f.epoch == record.epoch for f in known):
        return known
    reason = cause.removeprefix(FAILED_PREFIX)
    failure = Failure(
        server=release.record.server, epoch=record.epoch, reason=reason, at_wall=snapshot.wall
    )
    return (*known, failure)[-20:]


def plan_group(case: GroupCase) -> GroupPlan:
    """The one place that branches over a group's situation."""
    record = case.record
    if case.operation is not None and case.operation.kind is OperationKind.STOP:
        return _stop(case)
    if record is None:
        return _first_start(case)
    if record.owner is None:
        return _start_unowned(case, record)
    proof = proof_of_stop(case.snapshot, record)
    if proof is None:
        return _owned(case, record)
    if proof.value not in case.spec.proofs:
        text = f"{record.owner} is proven stopped ({proof.value}), but the group forbids this proof"
        return GroupPlan(verdict=_verdict(case, Phase.BLOCKED, (text,)))
    return _take_over(case, record, proof)


def plan_deleted(snapshot: Snapshot, keys: Keys, name: str) -> Write | None:
    """A group without a spec: its owner stops and releases it. The epoch stays for ever; nothing
    else does: applied again, the group begins like a new one."""
    record = snapshot.ownerships[name].record
    if record.owner is None and record.cause == DELETED:
        return None
    proof = proof_of_stop(snapshot, record)
    if proof is not None:
        new = record.model_copy(
            update={
                "owner": None,
                "proof": proof,
                "wanted": Wanted.ONLINE,
                "releasing": False,
                "stopped_resources": (),
                "cause": DELETED,
            }
        )
        return _write(snapshot, keys, name, new, Reason.of("group_removed", group=name))
    if record.releasing:
        return None
    new = record.model_copy(update={"releasing": True, "wanted": Wanted.OFFLINE})
    return _write(snapshot, keys, name, new, Reason.of("group_stop_requested", group=name))


def _write(snapshot: Snapshot, keys: Keys, name: str, record: Ownership, reason: Reason) -> Write:
    stored = snapshot.ownerships.get(name)
    release = snapshot.releases.get(name)
    depends = [(keys.release(name), release.mod_revision if release else 0)]
    if record.owner is not None and (stored is None or record.epoch != stored.record.epoch):
        session = snapshot.sessions.get(record.owner)
        depends.append((keys.session(record.owner), session.mod_revision if session else 0))
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


def _verdict(
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


def _quiet(case: GroupCase) -> Verdict | None:
    """Nothing to say but the failures that still count."""
    return _verdict(case, Phase.ONLINE, ()) if case.failures else None


def _stop(case: GroupCase) -> GroupPlan:
    record = case.record or Ownership(group=case.name, epoch=0)
    if record.owner is not None and proof_of_stop(case.snapshot, record) is None:
        if record.releasing and record.wanted is Wanted.OFFLINE:
            return _owned(case, record)
        return _ask_release(case, record, _stop_cause(case), wanted=Wanted.OFFLINE)
    return _park(case, record, _stop_cause(case), wanted=Wanted.OFFLINE)


def _stop_cause(case: GroupCase) -> str:
    operation = case.operation
    if operation is not None and operation.who.startswith(MONITOR_PREFIX):
        return f"stopped by {operation.who}: {operation.why}"
    return "stopped by an operator"


def _park(case: GroupCase, record: Ownership, cause: str, *, wanted: Wanted) -> GroupPlan:
    """Nobody owns the group: stopped, or failed too often."""
    proof = proof_of_stop(case.snapshot, record) or record.proof
    new = record.model_copy(
        update={
            "owner": None,
            "proof": proof,
            "wanted": wanted,
            "releasing": False,
            "cause": cause,
            "previous_owner": record.owner or record.previous_owner,
            "since_wall": case.snapshot.wall,
            "operation": case.operation.id if case.operation else "",
        }
    )
    parked = replace(case, record=new)
    verdict = _unowned_verdict(parked, new)
    reason = Reason.of("group_parked", group=case.name, epoch=record.epoch, reason=cause)
    write = _write(case.snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=verdict)


def _unowned_verdict(case: GroupCase, record: Ownership) -> Verdict:
    start = f"clusterctl start group/{case.name}"
    if record.wanted is Wanted.OFFLINE:
        return _verdict(case, Phase.OFFLINE, (record.cause or "stopped",), next_command=start)
    clear = f"clusterctl clear group/{case.name}"
    return _verdict(case, Phase.FAILED, (record.cause,), next_command=clear)


def _first_start(case: GroupCase) -> GroupPlan:
    by_operator = case.operation is not None
    if case.spec.startup == "manual" and not by_operator:
        return GroupPlan(verdict=_manual_startup(case))
    if case.barrier is not None and not by_operator:
        return _wait_for_barrier(case)
    return _grant(case, Ownership(group=case.name, epoch=0), Proof.NEVER_OWNED, "first start")


def _manual_startup(case: GroupCase) -> Verdict:
    start = f"clusterctl start group/{case.name}"
    return _verdict(case, Phase.OFFLINE, ("startup is manual",), next_command=start)


def _wait_for_barrier(case: GroupCase) -> GroupPlan:
    text = case.barrier or ""
    verdict = _verdict(case, Phase.OFFLINE, (text,), next_command="clusterctl barrier bypass")
    return GroupPlan(verdict=verdict)


def _start_unowned(case: GroupCase, record: Ownership) -> GroupPlan:
    if case.operation is not None and case.operation.kind is OperationKind.START:
        return _grant(replace(case, failures=()), record, record.proof, "started by an operator")
    if record.wanted is Wanted.OFFLINE:
        return GroupPlan(verdict=_unowned_verdict(case, record))
    if record.cause == DELETED and case.spec.startup == "manual":
        return GroupPlan(verdict=_manual_startup(case))
    if case.barrier is not None:
        return _wait_for_barrier(case)
    if _too_many_failures(case):
        return GroupPlan(verdict=_unowned_verdict(case, record))
    return _grant(case, record, record.proof, record.cause or "start")


def _too_many_failures(case: GroupCase) -> bool:
    failover = case.spec.failover
    recent = recent_failures(case.failures, failover.window, case.snapshot.wall)
    return len(recent) >= failover.max_failures


def _take_over(case: GroupCase, record: Ownership, proof: Proof) -> GroupPlan:
    """The owner is proven stopped: the next server, or nobody."""
    if record.wanted is Wanted.OFFLINE:
        return _park(case, record, record.cause or "stopped", wanted=Wanted.OFFLINE)
    release = case.snapshot.releases.get(case.name)
    failed = (
        proof is Proof.RELEASED
        and release is not None
        and release.record.cause.startswith(FAILED_PREFIX)
    )
    if failed and _too_many_failures(case):
        count = case.spec.failover.max_failures
        last = case.failures[-1]
        text = f"failed {count} times, last on {last.server}: {last.reason}"
        stop = case.spec.final_action == "stop-group"
        return _park(case, record, text, wanted=Wanted.OFFLINE if stop else Wanted.ONLINE)
    restarted = (
        proof is Proof.RELEASED and release is not None and release.record.cause == RESTARTED
    )
    if restarted and case.barrier is not None and case.operation is None:
        return _wait_for_barrier(case)
    leaving = record.owner if failed else None
    return _grant(case, record, proof, _takeover_cause(case, record, proof), leaving=leaving)


def _takeover_cause(case: GroupCase, record: Ownership, proof: Proof) -> str:
    if proof is Proof.FENCED:
        return f"{record.owner} was fenced"
    if proof is Proof.CONFIRMED:
        return f"a person confirmed that {record.owner} is off"
    if proof is Proof.NONE:
        return f"{record.owner} is gone without a proof, and the group asks for none"
    if proof is Proof.EXPIRED:
        return f"the time has passed by which {record.owner} stopped itself"
    release = case.snapshot.releases.get(case.name)
    return release.record.cause if release else "released"


def _grant(
    case: GroupCase, record: Ownership, proof: Proof, cause: str, leaving: str | None = None
) -> GroupPlan:
    """Give the group to the best candidate, or say why there is none."""
    snapshot, operation = case.snapshot, case.operation
    wished = operation.to if operation else None
    previous = record.owner or record.previous_owner
    placing = Placing(
        planned=case.planned,
        failures=case.failures,
        leaving=leaving,
        previous=previous,
        by_operator=operation is not None,
        failover=previous is not None,
    )
    found = candidates(snapshot, case.name, placing)
    # A move without a wish goes anywhere else, and stays only if nobody else can.
    moving = operation is not None and operation.kind is OperationKind.MOVE
    elsewhere = tuple(c for c in found if not moving or c.server != previous)
    chosen = choose(found, wished) if wished else choose(elsewhere)
    chosen = chosen or choose(found)
    drained = record.cause.startswith(DRAINED_PREFIX)
    wish = operation is not None or drained
    manual = case.spec.failover.mode == "manual" and not wish and previous is not None
    if manual and chosen is not None and chosen.server != previous:
        text = f"{cause}; failover is manual"
        start = f"clusterctl start group/{case.name}"
        if record.owner is None:
            return GroupPlan(verdict=_verdict(case, Phase.FAILED, (text,), found, start))
        return _park(case, record, text, wanted=Wanted.OFFLINE)
    session = session_of(snapshot, chosen.server) if chosen else None
    if chosen is None or session is None:
        text = "no server can run it now"
        clear = f"clusterctl clear group/{case.name}" if case.failures else "clusterctl status"
        return GroupPlan(verdict=_verdict(case, Phase.BLOCKED, (cause, text), found, clear))
    new = Ownership(
        group=case.name,
        epoch=max(record.epoch, first_epoch(snapshot)) + 1,
        owner=chosen.server,
        boot_id=session.record.boot_id,
        incarnation=session.record.incarnation,
        stopped_resources=record.stopped_resources,
        on_store_loss=case.spec.on_store_loss,
        **terms(case.spec.on_store_loss, session.record),
        proof=proof,
        cause=cause,
        operation=operation.id if operation else "",
        previous_owner=previous,
        since_wall=snapshot.wall,
        candidates=found,
        decided_by=snapshot.me,
    )
    reason = Reason.of(
        "group_granted",
        group=case.name,
        server=chosen.server,
        epoch=new.epoch,
        previous_owner=previous,
        proof=proof.value,
        reason=cause,
        candidates=[f"{c.server}: {c.reason}" for c in found],
    )
    verdict = _verdict(case, Phase.STARTING, (), found) if case.failures else None
    write = _write(snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=verdict)


def _ask_release(
    case: GroupCase, record: Ownership, cause: str, *, wanted: Wanted = Wanted.ONLINE
) -> GroupPlan:
    new = record.model_copy(
        update={
            "releasing": True,
            "wanted": wanted,
            "cause": cause,
            "operation": case.operation.id if case.operation else "",
        }
    )
    reason = Reason.of(
        "group_release_requested",
        group=case.name,
        server=record.owner,
        epoch=record.epoch,
        reason=cause,
    )
    write = _write(case.snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=_quiet(case))


def _owned(case: GroupCase, record: Ownership) -> GroupPlan:
    """Somebody owns it and is not proven stopped: look at how the owner is."""
    owner = record.owner or ""
    operation = case.operation
    moving = operation is not None and operation.kind is OperationKind.MOVE
    if operation is not None and moving and record.operation != operation.id:
        return _ask_release(case, record, f"moved by {operation.who or 'an operator'}")
    where = standing(case.snapshot, owner)
    if where is Standing.ONLINE and not record.releasing:
        return _owned_by_healthy(case, record)
    if where in (Standing.ONLINE, Standing.SUSPECT):
        return GroupPlan(verdict=_quiet(case))
    if where is Standing.STORE_ISOLATED and record.on_store_loss != STOP:
        text = f"{owner} is heard but has no session in the store; the group runs on there"
        return GroupPlan(verdict=_verdict(case, Phase.ONLINE, (text,)))
    due = expires_at(case.snapshot, record) if Proof.EXPIRED.value in case.spec.proofs else None
    if case.blocked is None:
        return GroupPlan(keep_verdict=True, wake_at=due)
    if due is not None:
        left = max(0.0, due - case.snapshot.now)
        text = f"{owner} is gone; its own watchdog has ended it by now or in {left:.0f} s at most"
        return GroupPlan(verdict=_verdict(case, Phase.STARTING, (text,)), wake_at=due)
    reason = case.blocked.get(owner)
    if owner not in case.snapshot.specs.servers:
        reason = f"{owner} has no spec any more, so nobody can fence it"
    if reason is None:
        return GroupPlan(keep_verdict=True)
    gone = where is Standing.OFFLINE and agreed_silent(case.snapshot, owner)
    known = unreadable(case.snapshot, case.keys.session(owner)) is None
    if Proof.NONE.value in case.spec.proofs and gone and known:
        return _take_over(case, record, Proof.NONE)
    text = f"{owner} owns it and is not proven stopped"
    confirm = f"clusterctl fence confirm {owner}"
    return GroupPlan(verdict=_verdict(case, Phase.BLOCKED, (text, reason), (), confirm))


def _leave(case: GroupCase, record: Ownership, cordon: Cordon) -> GroupPlan:
    """Its server is drained: the group goes elsewhere; with nowhere to go it stays, unless the
    server is being shut down."""
    placing = Placing(planned=case.planned, failures=case.failures, previous=record.owner)
    others = candidates(case.snapshot, case.name, placing)
    if choose(others) is None and not cordon.boot_id:
        text = f"{DRAINED_PREFIX}no other server can run it"
        return GroupPlan(verdict=_verdict(case, Phase.ONLINE, (text,), others))
    why = "shut down" if cordon.boot_id else "drained"
    return _ask_release(case, record, f"{DRAINED_PREFIX}{record.owner} is being {why}")


def _owned_by_healthy(case: GroupCase, record: Ownership) -> GroupPlan:
    snapshot, owner = case.snapshot, record.owner or ""
    session = session_of(snapshot, owner)
    longer = grown_terms(record, session.record) if session else None
    if longer is not None:
        grown = record.model_copy(update=longer)
        reason = Reason.of(
            "group_terms_grew",
            group=case.name,
            dead_man_s=grown.dead_man_s,
            watchdog_s=grown.watchdog_s,
        )
        write = _write(snapshot, case.keys, case.name, grown, reason)
        return GroupPlan(ownership=write, verdict=_quiet(case))
    if (cordon := cordon_of(snapshot, owner)) is not None:
        return _leave(case, record, cordon)
    listed = listed_servers(snapshot, case.spec)
    if case.spec.failback != "auto" and owner in listed:
        return GroupPlan(verdict=_quiet(case))
    placing = Placing(planned=case.planned, failures=case.failures, previous=owner)
    others = candidates(snapshot, case.name, placing)
    if owner not in listed and choose(others) is not None:
        return _ask_release(case, record, f"{owner} is not in the group's list any more")
    if owner not in listed:
        return GroupPlan(verdict=_quiet(case))
    best = choose(others)
    if best is None or best.server == owner:
        return GroupPlan(verdict=_quiet(case))
    if listed.index(best.server) > listed.index(owner):
        return GroupPlan(verdict=_quiet(case))
    session = session_of(snapshot, best.server)
    due = (session.seen_at if session else snapshot.now) + FAILBACK_AFTER_S
    if snapshot.now < due:
        return GroupPlan(verdict=_quiet(case), wake_at=due)
    return _ask_release(case, record, f"failback to {best.server}")
