"""Guards in `reconciler.decide`, each with the way to switch it off."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide import (
    decide,
    fence_execution,
    fence_wishes,
    fencing,
    granting,
    leases,
    membership,
    ownership,
    proofs,
)
from reconciler.decide.records import Proof

Patch = pytest.MonkeyPatch


def no_session_proof(patch: Patch) -> None:
    """A start needs a lease that is proven now: within the dead-man time, and within its TTL."""

    def proven(snapshot: Any) -> bool:
        return snapshot.own_session is not None

    patch.setattr(leases, "session_proven", proven)
    patch.setattr(leases, "is_overdue", lambda _snapshot: False)


def no_overdue_check(patch: Patch) -> None:
    """Nothing starts on a proof older than the dead-man time, though the lease lives longer."""
    patch.setattr(leases, "is_overdue", lambda _snapshot: False)


def no_drop_before_release(patch: Patch) -> None:
    """A release is written only after the epoch was dropped for good."""
    patch.setattr("reconciler.loops.state.AgentState.drop_epoch", lambda *_: None)
    real = leases._release

    def release(snapshot: Any, keys: Any, group: str, want: Any, local: Any) -> Any:
        dropped = {**snapshot.dropped_epochs, group: want.epoch}
        return real(replace(snapshot, dropped_epochs=dropped), keys, group, want, local)

    patch.setattr(leases, "_release", release)


def no_observed_stop(patch: Patch) -> None:
    """A release is written only after everything was seen stopped."""
    real = leases._release

    def release(snapshot: Any, keys: Any, group: str, want: Any, local: Any) -> Any:
        if local is not None:
            local = replace(local, phase="offline", epoch=want.epoch)
        return real(snapshot, keys, group, want, local)

    patch.setattr(leases, "_release", release)


def no_boot_coverage(patch: Patch) -> None:
    """A fence proves off only the boots that it covers."""

    def proven(snapshot: Any, server: str, boot_id: str) -> bool:
        found = snapshot.fences.get(server)
        return found is not None and found.record.proves_off

    from reconciler.loops import session

    for module in (membership, fencing, leases, fence_wishes, proofs, session):
        patch.setattr(module, "proven_off", proven)


def no_boot_match(patch: Patch) -> None:
    """A new boot does not go on with what was granted to an older one."""
    want, activate = leases._want_owned, leases.may_activate

    def same_boot(snapshot: Any, group: str) -> Any:
        stored = snapshot.ownerships.get(group)
        if stored is None or stored.record.owner != snapshot.me:
            return snapshot
        return replace(snapshot, boot_id=stored.record.boot_id)

    def want_owned(snapshot: Any, group: str, record: Any, local: Any) -> Any:
        return want(same_boot(snapshot, group), group, record, local)

    def may_activate(snapshot: Any, group: str, epoch: int) -> Any:
        return activate(same_boot(snapshot, group), group, epoch)

    patch.setattr(leases, "_want_owned", want_owned)
    patch.setattr("reconciler.loops.group_runner.may_activate", may_activate)


def no_release_epoch(patch: Patch) -> None:
    """A release is a proof for its own epoch only."""
    real = proofs.proof_of_stop

    def proof(snapshot: Any, record: Any) -> Any:
        if record.owner is not None and record.group in snapshot.releases:
            return Proof.RELEASED
        return real(snapshot, record)

    for module in (ownership, granting):
        patch.setattr(module, "proof_of_stop", proof)
    patch.setattr(decide, "proof_of_stop", proof)


def no_proof(patch: Patch) -> None:
    """Silence moves nothing: a takeover needs a proof."""
    real = proofs.proof_of_stop

    def proof(snapshot: Any, record: Any) -> Any:
        if record.owner and membership.agreed_silent(snapshot, record.owner):
            return Proof.FENCED
        return real(snapshot, record)

    for module in (ownership, granting):
        patch.setattr(module, "proof_of_stop", proof)


def no_new_epoch(patch: Patch) -> None:
    """Every grant is a new epoch."""
    real = granting.grant

    def grant(case: Any, record: Any, *args: Any, **more: Any) -> Any:
        plan = real(case, record, *args, **more)
        write = plan.ownership
        if write is None or write.record.owner is None or record.epoch == 0:
            return plan
        same = write.record.model_copy(update={"epoch": record.epoch})
        return replace(plan, ownership=replace(write, record=same))

    patch.setattr(granting, "grant", grant)


def no_agreement(patch: Patch) -> None:
    """Nobody is called silent whom any reachable server still hears."""

    def silent(snapshot: Any, server: str) -> bool:
        peer = snapshot.peers.peers.get(server)
        return peer is not None and peer.silent

    for module in (membership, fencing, fence_wishes):
        patch.setattr(module, "agreed_silent", silent)


def no_challenge(patch: Patch) -> None:
    """A silent server is asked through the store before it is fenced."""

    def suspect(snapshot: Any, server: str) -> fencing.Suspicion:
        if fencing.agreed_silent(snapshot, server):
            return fencing.Suspicion.DEAD_OR_ISOLATED
        return fencing.Suspicion.NONE

    patch.setattr(fencing, "suspicion", suspect)


def no_question_to_the_deaf(patch: Patch) -> None:
    """An owner that is heard but hears nobody is asked through the store before it is fenced."""
    patch.setattr(fencing, "cut_off", fencing.deaf_owners)


def no_quorum_without_victim(patch: Patch) -> None:
    """No fence without a majority of store members beside the victim's."""
    real = fencing.obstacle

    def obstacle(snapshot: Any, victim: str) -> str | None:
        reason = real(snapshot, victim)
        return None if reason is not None and "quorum" in reason else reason

    patch.setattr(fencing, "obstacle", obstacle)


def no_single_slot(patch: Patch) -> None:
    """One fence at a time."""
    patch.setattr(fencing, "slot_open", lambda _snapshot: False)


def no_last_question(patch: Patch) -> None:
    """Right before the power command: is it still silent, and could this server hear it?"""
    patch.setattr("reconciler.loops.fence.not_wanted", lambda *_: None)


def no_valid_until(patch: Patch) -> None:
    """No power command leaves after the executor's deadline (whatever it hears then)."""
    no_last_question(patch)
    real = fencing.execution

    def execution(snapshot: Any, keys: Any) -> Any:
        writes, effects = real(snapshot, keys)
        forever = tuple(
            replace(e, valid_until=float("inf")) if hasattr(e, "valid_until") else e
            for e in effects
        )
        return writes, forever

    patch.setattr(fencing, "execution", execution)


def no_executor_incarnation(patch: Patch) -> None:
    """Only the incarnation that an intent names acts on it (whatever it hears then)."""
    no_last_question(patch)
    real = fencing.execution

    def execution(snapshot: Any, keys: Any) -> Any:
        slot, own = snapshot.fence_slot, snapshot.own_session
        if slot is None or own is None or slot.record.executor != snapshot.me:
            return real(snapshot, keys)
        mine = slot.record.model_copy(update={"executor_incarnation": own.incarnation})
        return real(replace(snapshot, fence_slot=replace(slot, record=mine)), keys)

    patch.setattr(fencing, "execution", execution)


def no_startup_barrier(patch: Patch) -> None:
    """After a power loss nobody is fenced or granted anything before all are here."""
    patch.setattr(decide, "barrier_reason", lambda _snapshot: None)


def no_confirm_checks(patch: Patch) -> None:
    """A person cannot confirm a server off that is heard."""
    patch.setattr(fence_wishes, "_why_not_silent", lambda _snapshot, _victim: None)
    patch.setattr(fence_wishes, "session_of", lambda _snapshot, _server: None)


def no_address_probe(patch: Patch) -> None:
    """Addresses that still answer contradict the device."""
    real = fence_execution.judge_power_off
    patch.setattr(
        "reconciler.loops.fence.judge_power_off", lambda **given: real(**{**given, "answered": {}})
    )


def no_heartbeat_cross_check(patch: Patch) -> None:
    """Heartbeats after the report contradict the device."""
    real = fence_execution.judge_power_off

    def judge(**given: Any) -> Any:
        view = given["peers"]
        deaf = {name: replace(p, heard_at=None, silent=True) for name, p in view.peers.items()}
        return real(**{**given, "peers": replace(view, peers=deaf)})

    patch.setattr("reconciler.loops.fence.judge_power_off", judge)


def no_pulse_needed(patch: Patch) -> None:
    """Nothing starts while the pulse, which would end it, is away."""
    _with_view(patch, pulse_alive=True)
    _after_pause(patch)  # a pulse that is away counts as a pause too


def no_pause_check(patch: Patch) -> None:
    """After a pause nothing starts before the session is proven anew."""
    _with_view(patch, paused=False)
    _after_pause(patch)


def _with_view(patch: Patch, **changes: Any) -> None:
    real = leases.may_activate

    def may_activate(snapshot: Any, group: str, epoch: int) -> Any:
        return real(replace(snapshot, peers=replace(snapshot.peers, **changes)), group, epoch)

    patch.setattr("reconciler.loops.group_runner.may_activate", may_activate)


def _after_pause(patch: Patch) -> None:
    patch.setattr("reconciler.loops.state.AgentState._note_pause", lambda *_: None, raising=False)


def no_self_stop(patch: Patch) -> None:
    """A server that is alone and unproven stops: its agent in order, else its pulse by force."""
    patch.setattr(leases, "is_isolated", lambda _snapshot: False)
    no_dead_man(patch)


def no_dead_man(patch: Patch) -> None:
    """The pulse ends everything when the agent does not."""

    def step(state: Any, situation: Any) -> Any:
        return state, "nothing", False

    patch.setattr("reconciler.pulse.deadman.step", step)


def no_reboot_limit(patch: Patch) -> None:
    """A monitor resets its server at most once an hour, and no server is reset without end."""
    patch.setattr("reconciler.decide.recovery.FINAL_AGAIN_S", 0.0)
    patch.setattr("reconciler.decide.recovery.machine_obstacle", lambda _snapshot: "")
