"""Giving a group that nobody runs to the best candidate, or saying why there is none.

Invariant: every grant is a new epoch, to a session that the transaction compares.
"""

from dataclasses import replace

from reconciler.decide.actions import Reason
from reconciler.decide.copies import missing_copies
from reconciler.decide.draining import DRAINED_PREFIX
from reconciler.decide.expiry import terms
from reconciler.decide.group_case import (
    DELETED,
    FAILED_PREFIX,
    RESTARTED,
    GroupCase,
    GroupPlan,
    ownership_write,
    verdict_of,
)
from reconciler.decide.membership import (
    session_of,
)
from reconciler.decide.placement import (
    Placing,
    availability,
    candidates,
    choose,
    listed_servers,
    recent_failures,
)
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import (
    OperationKind,
    Ownership,
    Phase,
    Proof,
    Verdict,
    Wanted,
)
from reconciler.decide.standby_side import followed, next_epoch
from reconciler.decide.store_life import first_epoch


def park(case: GroupCase, record: Ownership, cause: str, *, wanted: Wanted) -> GroupPlan:
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
    verdict = unowned_verdict(parked, new)
    reason = Reason.of("group_parked", group=case.name, epoch=record.epoch, reason=cause)
    write = ownership_write(case.snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=verdict)


def unowned_verdict(case: GroupCase, record: Ownership) -> Verdict:
    start = f"clusterctl start group/{case.name}"
    if record.wanted is Wanted.OFFLINE:
        return verdict_of(case, Phase.OFFLINE, (record.cause or "stopped",), next_command=start)
    clear = f"clusterctl clear group/{case.name}"
    return verdict_of(case, Phase.FAILED, (record.cause,), next_command=clear)


def first_start(case: GroupCase) -> GroupPlan:
    by_operator = case.operation is not None
    if case.spec.startup == "manual" and not by_operator:
        return GroupPlan(verdict=_manual_startup(case))
    if case.barrier is not None and not by_operator:
        return _wait_for_barrier(case)
    return grant(case, Ownership(group=case.name, epoch=0), Proof.NEVER_OWNED, "first start")


def _manual_startup(case: GroupCase) -> Verdict:
    start = f"clusterctl start group/{case.name}"
    return verdict_of(case, Phase.OFFLINE, ("startup is manual",), next_command=start)


def _wait_for_barrier(case: GroupCase) -> GroupPlan:
    text = case.barrier or ""
    verdict = verdict_of(case, Phase.OFFLINE, (text,), next_command="clusterctl barrier bypass")
    return GroupPlan(verdict=verdict)


def start_unowned(case: GroupCase, record: Ownership) -> GroupPlan:
    if case.operation is not None and case.operation.kind is OperationKind.START:
        return grant(replace(case, failures=()), record, record.proof, "started by an operator")
    if record.wanted is Wanted.OFFLINE:
        return GroupPlan(verdict=unowned_verdict(case, record))
    if record.cause == DELETED and case.spec.startup == "manual":
        return GroupPlan(verdict=_manual_startup(case))
    if case.barrier is not None:
        return _wait_for_barrier(case)
    if _too_many_failures(case):
        return GroupPlan(verdict=unowned_verdict(case, record))
    return grant(case, record, record.proof, record.cause or "start")


def _too_many_failures(case: GroupCase) -> bool:
    failover = case.spec.failover
    recent = recent_failures(case.failures, failover.window, case.snapshot.wall)
    return len(recent) >= failover.max_failures


def take_over(case: GroupCase, record: Ownership, proof: Proof) -> GroupPlan:
    """The owner is proven stopped: the next server, or nobody."""
    starts = case.operation is not None and case.operation.kind is OperationKind.START
    if record.wanted is Wanted.OFFLINE and not starts:
        return park(case, record, record.cause or "stopped", wanted=Wanted.OFFLINE)
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
        return park(case, record, text, wanted=Wanted.OFFLINE if stop else Wanted.ONLINE)
    restarted = (
        proof is Proof.RELEASED and release is not None and release.record.cause == RESTARTED
    )
    if restarted and case.barrier is not None and case.operation is None:
        return _wait_for_barrier(case)
    leaving = record.owner if failed else None
    return grant(case, record, proof, _takeover_cause(case, record, proof), leaving=leaving)


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


def grant(
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
            return GroupPlan(verdict=verdict_of(case, Phase.FAILED, (text,), found, start))
        return park(case, record, text, wanted=Wanted.OFFLINE)
    session = session_of(snapshot, chosen.server) if chosen else None
    if chosen is None or session is None:
        text = "no server can run it now"
        blocked = verdict_of(case, Phase.BLOCKED, (cause, text), found, _next_command(case))
        return GroupPlan(verdict=blocked)
    new = Ownership(
        group=case.name,
        epoch=next_epoch(snapshot, case.name, max(record.epoch, first_epoch(snapshot))),
        owner=chosen.server,
        follows=followed(snapshot, case.name),
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
    verdict = verdict_of(case, Phase.STARTING, (), found) if case.failures else None
    write = ownership_write(snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=verdict)


def _next_command(case: GroupCase) -> str:
    """Where to look when nobody can run it: at the data, if that is what all lack who are there."""
    snapshot = case.snapshot
    there = [s for s in listed_servers(snapshot, case.spec) if availability(snapshot, s) is None]
    lacking = missing_copies(snapshot, case.name, there)
    if lacking and len(lacking) == len(there):
        return f"clusterctl mirror status {lacking[there[0]].resource}"
    return f"clusterctl clear group/{case.name}" if case.failures else "clusterctl status"
