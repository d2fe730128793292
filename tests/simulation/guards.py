"""Guards of the product that can be taken out one at a time: what remains must then break a rule.

test_guards.py demands it; a guard that nothing misses is either not needed or not tested.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide import (
    decide,
    fence_execution,
    fencing,
    leases,
    membership,
    operations,
    ownership,
)
from reconciler.decide.records import FenceOutcome, Proof
from reconciler.loops import act, fence, group_runner, session
from reconciler.ports.driver import Permit, ResourceError
from reconciler.ports.store import Transaction
from tests.simulation.ports import SimLocalState

Patch = pytest.MonkeyPatch


def no_permit_check(patch: Patch) -> None:
    """The driver does not ask again right before its irreversible step."""
    patch.setattr(Permit, "check", lambda self: None)


def no_session_proof(patch: Patch) -> None:
    """A session counts for ever, renewed or not."""

    def proven(snapshot: Any) -> bool:
        return snapshot.own_session is not None

    patch.setattr(leases, "session_proven", proven)


def no_durable_drop(patch: Patch) -> None:
    """A given-up epoch is forgotten when the agent dies."""
    patch.setattr(SimLocalState, "drop_epoch", lambda self, group, epoch: None)


def no_drop_before_release(patch: Patch) -> None:
    """The release does not wait for the drop, and an epoch is never dropped."""
    patch.setattr("reconciler.loops.state.AgentState.drop_epoch", lambda *_: None)
    real = leases._release

    def release(snapshot: Any, keys: Any, group: str, want: Any, local: Any) -> Any:
        dropped = {**snapshot.dropped_epochs, group: want.epoch}
        return real(replace(snapshot, dropped_epochs=dropped), keys, group, want, local)

    patch.setattr(leases, "_release", release)


def no_observed_stop(patch: Patch) -> None:
    """The release does not wait until everything was seen stopped."""
    real = leases._release

    def release(snapshot: Any, keys: Any, group: str, want: Any, local: Any) -> Any:
        if local is not None:
            local = replace(local, phase="offline", epoch=want.epoch)
        return real(snapshot, keys, group, want, local)

    patch.setattr(leases, "_release", release)


def no_boot_coverage(patch: Patch) -> None:
    """A fence proves every boot of its server off, also the later ones."""

    def proven(snapshot: Any, server: str, boot_id: str) -> bool:
        found = snapshot.fences.get(server)
        return found is not None and found.record.proves_off

    for module in (membership, fencing, leases, operations, ownership, session):
        patch.setattr(module, "proven_off", proven)


def no_release_epoch(patch: Patch) -> None:
    """A release of any epoch proves the present one over."""
    real = ownership.proof_of_stop

    def proof(snapshot: Any, record: Any) -> Any:
        if record.owner is not None and record.group in snapshot.releases:
            return Proof.RELEASED
        return real(snapshot, record)

    patch.setattr(ownership, "proof_of_stop", proof)
    patch.setattr(decide, "proof_of_stop", proof)


def no_proof(patch: Patch) -> None:
    """Silence alone moves a group."""
    real = ownership.proof_of_stop

    def proof(snapshot: Any, record: Any) -> Any:
        if record.owner and membership.agreed_silent(snapshot, record.owner):
            return Proof.FENCED
        return real(snapshot, record)

    patch.setattr(ownership, "proof_of_stop", proof)


def no_read_back(patch: Patch) -> None:
    """A power-off command that failed or was not confirmed counts as done."""
    patch.setattr(
        fence, "judge_power_off", lambda **_: (FenceOutcome.CONFIRMED_OFF, "believed blindly")
    )


def no_address_probe(patch: Patch) -> None:
    """Addresses that still answer do not contradict the device."""
    real = fence_execution.judge_power_off
    patch.setattr(fence, "judge_power_off", lambda **given: real(**{**given, "answered": {}}))


def no_heartbeat_cross_check(patch: Patch) -> None:
    """Heartbeats do not contradict the device."""
    real = fence_execution.judge_power_off

    def judge(**given: Any) -> Any:
        view = given["peers"]
        deaf = {name: replace(p, heard_at=None, silent=True) for name, p in view.peers.items()}
        return real(**{**given, "peers": replace(view, peers=deaf)})

    patch.setattr(fence, "judge_power_off", judge)


def no_listening(patch: Patch) -> None:
    """Judged at once, without waiting for silence or for the next heartbeat."""

    async def listen(self: Any, victim: str, since: float) -> None:
        return

    patch.setattr(fence.FenceLoop, "_listen", listen)


def no_agreement(patch: Patch) -> None:
    """One server alone calls another silent."""

    def silent(snapshot: Any, server: str) -> bool:
        peer = snapshot.peers.peers.get(server)
        return peer is not None and peer.silent

    for module in (membership, fencing, operations):
        patch.setattr(module, "agreed_silent", silent)


def no_challenge(patch: Patch) -> None:
    """Silence is enough; nobody is asked through the store."""

    def suspect(snapshot: Any, server: str) -> fencing.Suspicion:
        if fencing.agreed_silent(snapshot, server):
            return fencing.Suspicion.DEAD_OR_ISOLATED
        return fencing.Suspicion.NONE

    patch.setattr(fencing, "suspicion", suspect)


def _drop_compares(patch: Patch, drop: Callable[[Any, str], bool]) -> None:
    real = act.CoordinationLoop._shared

    def shared(self: Any, snapshot: Any, decision: Any) -> Transaction:
        made = real(self, snapshot, decision)
        kept = tuple(c for c in made.compares if not drop(self._state.keys, c.key))
        written = {operation.key for operation in made.operations}
        # A store refuses to repeat what compares nothing of its own: then it is tried once.
        guard = made.guard if written & {c.key for c in kept} else None
        return replace(made, compares=kept, guard=guard)

    patch.setattr(act.CoordinationLoop, "_shared", shared)


def no_coordinator_compare(patch: Patch) -> None:
    """A deposed coordinator's decisions are stored all the same."""
    _drop_compares(patch, lambda keys, key: key == keys.coordinator)


def no_slot_compare(patch: Patch) -> None:
    """A server that is being fenced decides all the same."""
    _drop_compares(patch, lambda keys, key: key == keys.fence_slot)


def no_shared_compares(patch: Patch) -> None:
    """Neither coordinator, nor slot, nor own session are compared."""

    def drop(keys: Any, key: str) -> bool:
        return key in (keys.coordinator, keys.fence_slot) or key.startswith(keys.session(""))

    _drop_compares(patch, drop)


def no_record_compares(patch: Patch) -> None:
    """Ownership, release and session records are overwritten unseen."""

    def drop(keys: Any, key: str) -> bool:
        return key.startswith((keys.group(""), keys.release(""), keys.session("")))

    _drop_compares(patch, drop)


def no_new_epoch(patch: Patch) -> None:
    """A grant goes on with the old epoch."""
    real = ownership._grant

    def grant(case: Any, record: Any, *args: Any, **more: Any) -> Any:
        plan = real(case, record, *args, **more)
        write = plan.ownership
        if write is None or write.record.owner is None or record.epoch == 0:
            return plan
        same = write.record.model_copy(update={"epoch": record.epoch})
        return replace(plan, ownership=replace(write, record=same))

    patch.setattr(ownership, "_grant", grant)


def no_stop_check(patch: Patch) -> None:
    """A failed stop is taken for a stop."""

    async def stop(self: Any, epoch: int, retries: int) -> None:
        with suppress(ResourceError):
            await self.driver.deactivate(epoch)

    patch.setattr(group_runner.ResourceSlot, "stop", stop)


GUARDS: dict[str, Callable[[Patch], None]] = {
    guard.__name__: guard
    for guard in (
        no_permit_check,
        no_session_proof,
        no_durable_drop,
        no_drop_before_release,
        no_observed_stop,
        no_boot_coverage,
        no_release_epoch,
        no_proof,
        no_read_back,
        no_address_probe,
        no_heartbeat_cross_check,
        no_listening,
        no_agreement,
        no_challenge,
        no_coordinator_compare,
        no_slot_compare,
        no_shared_compares,
        no_record_compares,
        no_new_epoch,
        no_stop_check,
    )
}


@contextmanager
def without(name: str) -> Iterator[None]:
    """The product without this guard."""
    with pytest.MonkeyPatch.context() as patch:
        GUARDS[name](patch)
        yield
