"""The ports of one simulated server but pulse and BMCs: drivers, probes, local files."""

from collections.abc import Mapping
from typing import Any

from reconciler.decide.snapshot import KnownStore, PastAction, Specs
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.probes import Sample
from specs.monitor import Monitor
from specs.resource import Resource
from tests.simulation.virtual_time import SimClock
from tests.simulation.world import Running, World

# As `binding` ends a call that takes too long.
TIMEOUT_S = 8.0


class SimDriver:
    """A resource on a simulated host; slow, failing, late or blind as the world says."""

    def __init__(self, world: World, server: str, resource: Resource, clock: SimClock) -> None:
        self._world, self._server, self._clock = world, server, clock
        self._name, self._group = resource.metadata.name, resource.spec.group
        self._level = int(getattr(resource.spec, "level", 0))

    @property
    def _running(self) -> Running | None:
        return self._world.hosts[self._server].active.get(self._name)

    async def _take_time(self) -> None:
        host, rng = self._world.hosts[self._server], self._world.rng
        await self._clock.sleep(0.005 + rng.random() * (0.02 + host.slow_drivers_s))
        end = self._clock.now() + TIMEOUT_S
        while host.hung_drivers:
            await self._clock.sleep(0.25)
            if self._clock.now() > end:
                raise ResourceError(f"simulated: not done within {TIMEOUT_S:g} s")

    async def observe(self) -> Observation:
        host, running = self._world.hosts[self._server], self._running
        if host.unclear:
            return Observation(ResourceState.UNKNOWN, "simulated: nobody can tell")
        state = ResourceState.INACTIVE if running is None else ResourceState.ACTIVE
        return Observation(state, epoch=running.epoch if running else None)

    async def prepare(self) -> None:
        await self._take_time()
        if self._world.hosts[self._server].failing_starts:
            raise ResourceError("simulated failure of the preparation")

    async def activate(self, permit: Permit) -> None:
        host, rng = self._world.hosts[self._server], self._world.rng
        running = self._running
        if running is not None:
            permit.check()
            if running.epoch != permit.epoch:
                self._start(permit.epoch)
            return
        began = self._world.loop.now
        await self._take_time()
        if host.failing_starts or (host.failing_drivers and rng.random() < 0.5):
            raise ResourceError("simulated failure before the start")
        permit.check()
        self._start(permit.epoch, began)
        if host.failing_drivers and rng.random() < 0.3:
            raise ResourceError("simulated failure after the start")

    def _start(self, epoch: int, began: float | None = None) -> None:
        where = self._server, self._group, self._name
        self._world.start_resource(*where, epoch, self._level, began)

    async def deactivate(self, epoch: int) -> None:
        host, rng = self._world.hosts[self._server], self._world.rng
        await self._take_time()
        running = self._running
        if running is None or running.epoch > epoch:
            return
        if host.failing_stops or host.unkillable or (host.failing_drivers and rng.random() < 0.2):
            raise ResourceError("simulated failure of a stop")
        self._world.stop_resource(self._server, self._name)
        if host.failing_drivers and rng.random() < 0.2:
            raise ResourceError("simulated failure after a stop")

    async def changed(self) -> None:
        await self._world.watch_resource(self._server, self._name)

    async def close(self) -> None:
        """Nothing is kept up."""


class SimProbes:
    """A monitor's probe: unhealthy while the world says that the server is sick of this monitor."""

    def __init__(self, world: World, me: str, clock: SimClock) -> None:
        self._world, self._me, self._clock = world, me, clock

    async def sample(self, monitor: Monitor, specs: Specs) -> Sample:
        await self._clock.sleep(0.01 + self._world.rng.random() * 0.05)
        sick = (self._me, monitor.metadata.name) in self._world.sick
        self._world.note("probe", server=self._me, monitor=monitor.metadata.name, sick=sick)
        return Sample(not sick, "it is sick" if sick else "")


class SimLocalState:
    """`disk` survives a power cycle, `memory` only the agent. A disk that is "full" refuses every
    write."""

    def __init__(self, disk: dict[str, Any], memory: dict[str, Any]) -> None:
        self._disk = disk
        self._dropped = disk.setdefault("dropped", {})
        self._started = memory.setdefault("started", {})

    def _need_space(self) -> None:
        if self._disk.get("full"):
            raise OSError("no space left on device")

    def dropped_epochs(self) -> Mapping[str, int]:
        return dict(self._dropped)

    def drop_epoch(self, group: str, epoch: int) -> None:
        self._need_space()
        self._dropped[group] = epoch

    def known_store(self) -> KnownStore | None:
        return self._disk.get("store")

    def remember_store(self, known: KnownStore) -> None:
        self._need_space()
        self._disk["store"] = known

    def machine_actions(self) -> tuple[PastAction, ...]:
        return tuple(self._disk.get("actions", ()))

    def remember_machine_actions(self, actions: tuple[PastAction, ...]) -> None:
        self._need_space()
        self._disk["actions"] = actions

    def started_groups(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(self._started)

    def save_started(self, group: str, started: Mapping[str, Any] | None) -> None:
        """In /run: a full disk does not matter."""
        if started is None:
            self._started.pop(group, None)
        else:
            self._started[group] = started
