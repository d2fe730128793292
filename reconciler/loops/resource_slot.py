"""One resource of a group on this server: its driver, its last state, its step durations."""

import asyncio
from collections.abc import Mapping

from reconciler.decide.records import ResourceStatus
from reconciler.loops.state import AgentState
from reconciler.ports.driver import (
    Driver,
    Observation,
    Permit,
    ResourceError,
    ResourceState,
)
from specs.resource import Resource

RETRY_PAUSE_S = 0.2
OBSERVE_EVERY_S = 10.0
UNKNOWN_PAUSE_S = 0.5


class ResourceSlot:
    def __init__(self, resource: Resource, driver: Driver, state: AgentState) -> None:
        self.resource, self.driver, self._state = resource, driver, state
        self.name = resource.metadata.name
        self.state = ResourceState.UNKNOWN
        self.reason = ""
        self.since_wall = state.clock.wall()
        self.start_ms: float | None = None
        self.stop_ms: float | None = None
        self.restarts = 0
        self._last_known = ResourceState.UNKNOWN
        self._drift: tuple[ResourceState, float] | None = None  # as found, and when

    async def observe(self) -> Observation:
        observation = await self.driver.observe()
        self._note(observation.state, observation.reason)
        return observation

    async def activate(self, permit: Permit, retries: int) -> None:
        """Raises `PermitExpired`, or `ResourceError` after the last try, with the name in front."""
        began = self._state.clock.now()
        for attempt in range(retries + 1):
            try:
                await self.driver.activate(permit)
                break
            except ResourceError as error:
                self._note(ResourceState.FAILED, str(error))
                self._emit("resource_start_failed", permit.epoch, reason=str(error))
                if attempt == retries or not error.retry:
                    raise ResourceError(f"{self.name}: {error}", retry=error.retry) from error
                await self._state.clock.sleep(self._state.jitter(RETRY_PAUSE_S))
        self.start_ms = (self._state.clock.now() - began) * 1000
        self._note(ResourceState.ACTIVE, "")
        self._emit("resource_started", permit.epoch, duration_ms=round(self.start_ms, 1))
        self.end_drift(permit.epoch, repaired=True)

    async def deactivate(self, epoch: int) -> None:
        await self.driver.deactivate(epoch)
        self._note(ResourceState.INACTIVE, "")

    async def stop(self, epoch: int, retries: int) -> None:
        """Returns only when the resource was seen stopped; raises `ResourceError` otherwise."""
        began = self._state.clock.now()
        for attempt in range(retries + 1):
            try:
                await self.driver.deactivate(epoch)
                observation = await self.observe()
                if observation.state is not ResourceState.INACTIVE:
                    text = f"still {observation.state.value} after its stop: {observation.reason}"
                    raise ResourceError(text)
                break
            except ResourceError as error:
                self._emit("resource_stop_failed", epoch, reason=str(error))
                if attempt == retries:
                    raise ResourceError(f"{self.name}: {error}") from error
                await self._state.clock.sleep(self._state.jitter(RETRY_PAUSE_S))
        self.stop_ms = (self._state.clock.now() - began) * 1000
        self._emit("resource_stopped", epoch, duration_ms=round(self.stop_ms, 1))

    def is_repaired(self, found: ResourceState) -> bool:
        """Whether this deviation is put right: what failed by itself always is."""
        by_itself = found is ResourceState.FAILED
        return by_itself or self.resource.spec.drift_policy == "correct"

    @property
    def is_up(self) -> bool:
        """Not to be started: also what cannot be looked at now, and was up when it last could."""
        return self._last_known is ResourceState.ACTIVE or self.is_left

    @property
    def is_left(self) -> bool:
        """It is not as it should be, and stays so: that was told, and its policy is to report."""
        return self._drift is not None and not self.is_repaired(self._drift[0])

    @property
    def left(self) -> str:
        """A sentence about that, or nothing."""
        told = f": {self.reason}" if self.reason else ""
        return f"{self.name} is {self.state.value}{told} (driftPolicy: report)" * self.is_left

    def is_told(self, state: ResourceState) -> bool:
        """This state was found and told before."""
        return self.is_left and self._drift is not None and self._drift[0] is state

    def note_drift(self, observation: Observation, epoch: int) -> None:
        """Tell it once for each state that is found."""
        if self._drift is not None and self._drift[0] is observation.state:
            return
        self._drift = (observation.state, self._state.clock.now())
        self._emit(
            "resource_drifted",
            epoch,
            found=observation.state.value,
            expected=ResourceState.ACTIVE.value,
            reason=observation.reason,
            policy="correct" if self.is_repaired(observation.state) else "report",
        )

    def end_drift(self, epoch: int, *, repaired: bool) -> None:
        """It is active again."""
        if self._drift is None:
            return
        (found, since), self._drift = self._drift, None
        took = round((self._state.clock.now() - since) * 1000, 1)
        self._emit(
            "resource_drift_ended", epoch, found=found.value, repaired=repaired, duration_ms=took
        )

    def facts(self) -> tuple[object, ...]:
        """What `status` is made of."""
        spec, state = self.resource.spec, self.state.value
        times = (self.since_wall, self.start_ms, self.stop_ms)
        return (self.name, spec.type, state, self.reason, *times, self.restarts)

    def status(self) -> ResourceStatus:
        return ResourceStatus(
            name=self.name,
            type=self.resource.spec.type,
            state=self.state.value,
            reason=self.reason,
            since_wall=self.since_wall,
            start_ms=self.start_ms,
            stop_ms=self.stop_ms,
            restarts=self.restarts,
        )

    def _note(self, state: ResourceState, reason: str) -> None:
        if state is not self.state:
            self.since_wall = self._state.clock.wall()
        self.state, self.reason = state, reason
        if state is not ResourceState.UNKNOWN:
            self._last_known = state

    def _emit(self, name: str, epoch: int, **fields: object) -> None:
        group = self.resource.spec.group
        self._state.events.emit(name, group=group, resource=self.name, epoch=epoch, **fields)


async def first_change(
    slots: Mapping[str, ResourceSlot], kick: asyncio.Event, state: AgentState
) -> str | None:
    """Name of a resource that may have changed; None when `kick` was set, or time passed."""
    waiters = {
        asyncio.ensure_future(slot.driver.changed()): name for name, slot in sorted(slots.items())
    }
    kicked = asyncio.ensure_future(kick.wait())
    timer = asyncio.ensure_future(state.clock.sleep(OBSERVE_EVERY_S))
    try:
        done, _ = await asyncio.wait({*waiters, kicked, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*waiters, kicked, timer):
            task.cancel()
        await asyncio.gather(*waiters, kicked, timer, return_exceptions=True)
    for task, name in waiters.items():
        if task in done:
            if task.exception() is not None:
                # What cannot be waited for is looked at from time to time, never in a rush.
                await state.clock.sleep(state.jitter(UNKNOWN_PAUSE_S))
            return name
    if timer in done:
        for name, slot in sorted(slots.items()):
            found = (await slot.observe()).state
            if slot.is_left if found is ResourceState.ACTIVE else not slot.is_told(found):
                return name
    return None
