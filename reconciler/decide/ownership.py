"""Who may run each group: the coordinator's decision, one group at a time.

Invariant: an owned group gets a new owner only with a proof that its group allows; the proof, the
target's session and the old record are compared in the transaction.
"""

from reconciler.decide.actions import Reason, Write
from reconciler.decide.draining import DRAINED_PREFIX, cordon_of
from reconciler.decide.expiry import STOP, expires_at, grown_terms
from reconciler.decide.granting import first_start, park, start_unowned, take_over
from reconciler.decide.group_case import (
    DELETED,
    MONITOR_PREFIX,
    GroupCase,
    GroupPlan,
    ownership_write,
    quiet,
    verdict_of,
)
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    Standing,
    agreed_silent,
    session_of,
    standing,
    unreadable,
)
from reconciler.decide.placement import (
    Placing,
    candidates,
    choose,
    listed_servers,
)
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import (
    Cordon,
    OperationKind,
    Ownership,
    Phase,
    Proof,
    Verdict,
    Wanted,
)
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import misplaced

FAILBACK_AFTER_S = 10.0


def plan_group(case: GroupCase) -> GroupPlan:
    """The one place that branches over a group's situation."""
    record = case.record
    if case.operation is not None and case.operation.kind is OperationKind.STOP:
        return _stop(case)
    if record is None:
        return first_start(case)
    if record.owner is None:
        return start_unowned(case, record)
    proof = proof_of_stop(case.snapshot, record)
    if proof is None:
        return _owned(case, record)
    if proof.value not in case.spec.proofs:
        text = f"{record.owner} is proven stopped ({proof.value}), but the group forbids this proof"
        return GroupPlan(verdict=verdict_of(case, Phase.BLOCKED, (text,)))
    return take_over(case, record, proof)


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
                "follows": "",
            }
        )
        return ownership_write(snapshot, keys, name, new, Reason.of("group_removed", group=name))
    if record.releasing:
        return None
    new = record.model_copy(update={"releasing": True, "wanted": Wanted.OFFLINE})
    return ownership_write(snapshot, keys, name, new, Reason.of("group_stop_requested", group=name))


def _stop(case: GroupCase) -> GroupPlan:
    record = case.record or Ownership(group=case.name, epoch=0)
    if record.owner is not None and proof_of_stop(case.snapshot, record) is None:
        if record.releasing and record.wanted is Wanted.OFFLINE:
            return _owned(case, record)
        return _ask_release(case, record, _stop_cause(case), wanted=Wanted.OFFLINE)
    return park(case, record, _stop_cause(case), wanted=Wanted.OFFLINE)


def _stop_cause(case: GroupCase) -> str:
    operation = case.operation
    if operation is not None and operation.who.startswith(MONITOR_PREFIX):
        return f"stopped by {operation.who}: {operation.why}"
    return "stopped by an operator"


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
    write = ownership_write(case.snapshot, case.keys, case.name, new, reason)
    return GroupPlan(ownership=write, verdict=quiet(case))


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
        return GroupPlan(verdict=quiet(case))
    if where is Standing.STORE_ISOLATED and record.on_store_loss != STOP:
        return GroupPlan(verdict=_without_the_store(case, record))
    due = expires_at(case.snapshot, record) if Proof.EXPIRED.value in case.spec.proofs else None
    if case.blocked is None:
        return GroupPlan(keep_verdict=True, wake_at=due)
    if due is not None:
        left = max(0.0, due - case.snapshot.now)
        text = f"{owner} is gone; its own watchdog has ended it by now or in {left:.0f} s at most"
        return GroupPlan(verdict=verdict_of(case, Phase.STARTING, (text,)), wake_at=due)
    reason = case.blocked.get(owner)
    if owner not in case.snapshot.specs.servers:
        reason = f"{owner} has no spec any more, so nobody can fence it"
    if reason is None:
        return GroupPlan(keep_verdict=True)
    gone = where is Standing.OFFLINE and agreed_silent(case.snapshot, owner)
    known = unreadable(case.snapshot, case.keys.session(owner)) is None
    if Proof.NONE.value in case.spec.proofs and gone and known:
        return take_over(case, record, Proof.NONE)
    text = f"{owner} owns it and is not proven stopped"
    confirm = f"clusterctl fence confirm {owner}"
    return GroupPlan(verdict=verdict_of(case, Phase.BLOCKED, (text, reason), (), confirm))


def _without_the_store(case: GroupCase, record: Ownership) -> Verdict:
    """Its owner lives and may run it. If it never said so, it may have lost the store first: then
    nobody runs it, and only a fence can prove that."""
    status = case.snapshot.group_status.get((record.owner or "", case.name))
    text = f"{record.owner} is heard but has no session in the store"
    if status is not None and status.epoch == record.epoch and status.phase is Phase.ONLINE:
        return verdict_of(case, Phase.ONLINE, (f"{text}; the group runs on there",))
    text = f"{text}, and never said that it has started the group"
    return verdict_of(case, Phase.BLOCKED, (text,), (), f"clusterctl fence {record.owner}")


def _leave(case: GroupCase, record: Ownership, cordon: Cordon) -> GroupPlan:
    """Its server is drained: the group goes elsewhere; with nowhere to go it stays, unless the
    server is being shut down."""
    placing = Placing(planned=case.planned, failures=case.failures, previous=record.owner)
    others = candidates(case.snapshot, case.name, placing)
    if choose(others) is None and not cordon.boot_id:
        text = f"{DRAINED_PREFIX}no other server can run it"
        return GroupPlan(verdict=verdict_of(case, Phase.ONLINE, (text,), others))
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
        write = ownership_write(snapshot, case.keys, case.name, grown, reason)
        return GroupPlan(ownership=write, verdict=quiet(case))
    if (cordon := cordon_of(snapshot, owner)) is not None:
        return _leave(case, record, cordon)
    if (elsewhere := misplaced(snapshot, case.name, owner)) is not None:
        return _ask_release(case, record, elsewhere)
    listed = listed_servers(snapshot, case.spec)
    if case.spec.failback != "auto" and owner in listed:
        return GroupPlan(verdict=quiet(case))
    placing = Placing(planned=case.planned, failures=case.failures, previous=owner)
    others = candidates(snapshot, case.name, placing)
    if owner not in listed and choose(others) is not None:
        return _ask_release(case, record, f"{owner} is not in the group's list any more")
    if owner not in listed:
        return GroupPlan(verdict=quiet(case))
    best = choose(others)
    if best is None or best.server == owner:
        return GroupPlan(verdict=quiet(case))
    if listed.index(best.server) > listed.index(owner):
        return GroupPlan(verdict=quiet(case))
    session = session_of(snapshot, best.server)
    due = (session.seen_at if session else snapshot.now) + FAILBACK_AFTER_S
    if snapshot.now < due:
        return GroupPlan(verdict=quiet(case), wake_at=due)
    return _ask_release(case, record, f"failback to {best.server}")
