"""Guards in `reconciler.loops`, in drivers and devices, each with the way to switch it off."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide.records import FenceOutcome
from reconciler.loops import act, fence, group_runner, session
from reconciler.ports.driver import Permit, ResourceError
from reconciler.ports.store import LeaseProof, Transaction
from tests.simulation.devices import SimDevice
from tests.simulation.ports import SimLocalState
from tests.simulation.store import SimStore

Patch = pytest.MonkeyPatch


def no_permit_check(patch: Patch) -> None:
    """The driver asks again right before its irreversible step."""
    patch.setattr(Permit, "check", lambda _self: None)


def no_durable_drop(patch: Patch) -> None:
    """A given-up epoch is remembered on disk."""
    patch.setattr(SimLocalState, "drop_epoch", lambda _self, _group, _epoch: None)


def no_stop_check(patch: Patch) -> None:
    """A failed stop is no stop: the machine resets itself."""

    async def stop(self: Any, epoch: int, retries: int) -> None:
        with suppress(ResourceError):
            await self.driver.deactivate(epoch)

    patch.setattr(group_runner.ResourceSlot, "stop", stop)


def no_read_back(patch: Patch) -> None:
    """A fence counts only once the device reads off."""
    patch.setattr(
        fence, "judge_power_off", lambda **_: (FenceOutcome.CONFIRMED_OFF, "believed blindly")
    )


def no_guid_check(patch: Patch) -> None:
    """The device must be the one of this server."""
    patch.setattr(SimDevice, "compares_guid", False)
    real = fence.judge_power_off
    patch.setattr(fence, "judge_power_off", lambda **g: real(**{**g, "guid": g["expected_guid"]}))


def no_listening(patch: Patch) -> None:
    """After *off* the executor waits for silence, or for the next heartbeat."""

    async def listen(self: Any, *_: Any) -> None:
        return

    patch.setattr(fence.FenceLoop, "_listen", listen)


def no_session_bound(patch: Patch) -> None:
    """A session begins only on unchanged ownerships, without a fence meanwhile."""
    real = session.SessionLoop._compares

    def compares(self: Any, snapshot: Any) -> Any:
        own = real(self, snapshot)[0]
        held = self._state.store._state.get(own.key)
        return (replace(own, mod_revision=held.mod_revision if held else 0),)

    patch.setattr(session.SessionLoop, "_compares", compares)


def no_send_time(patch: Patch) -> None:
    """A renewal counts from its sending, not from its answer."""
    real = SimStore.keep_alive

    async def keep_alive(self: Any, lease: int, *, timeout_s: float = 1.0) -> LeaseProof:
        proof = await real(self, lease, timeout_s=timeout_s)
        return replace(proof, sent_at=self._own_clock.now())

    patch.setattr(SimStore, "keep_alive", keep_alive)


def no_decider_compares(patch: Patch) -> None:
    """A decision compares the coordinator's place, the fence slot and the own session: three locks
    on one door, each of which holds alone (deposing changes all of them)."""

    def drop(keys: Any, key: str) -> bool:
        return key in (keys.coordinator, keys.fence_slot) or key.startswith(keys.session(""))

    _drop_compares(patch, drop)


def no_record_compares(patch: Patch) -> None:
    """A decision compares the records that it was based on."""

    def drop(keys: Any, key: str) -> bool:
        return key.startswith((keys.group(""), keys.release(""), keys.operation("")))

    _drop_compares(patch, drop)


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
