"""One resource of a group on this server: its driver, its last state, its step durations."""

from collections.abc import Iterable, Mapping

from reconciler.decide.ordering import Ordered, dependencies
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
DEFAULT_LEVEL = 60


def ordered(resource: Resource) -> Ordered:
    """What `decide.ordering` needs of a resource."""
    level = int(getattr(resource.spec, "level", DEFAULT_LEVEL))
    return Ordered(level=level, depends_on=resource.spec.depends_on)


def wanted(resources: Mapping[str, Resource], stopped: Iterable[str]) -> dict[str, Resource]:
    """What is to run of a group: all but the stopped, and but those that name one in dependsOn."""
    rest = set(stopped)
    needs = dependencies({n: ordered(r) for n, r in resources.items()})
    explicit = {n for n, r in resources.items() if r.spec.depends_on is not None}
    while more := {n for n in explicit if needs[n] & rest} - rest:
        rest |= more
    return {name: r for name, r in resources.items() if name not in rest}


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

    def _emit(self, name: str, epoch: int, **fields: object) -> None:
        group = self.resource.spec.group
        self._state.events.emit(name, group=group, resource=self.name, epoch=epoch, **fields)
