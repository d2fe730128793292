"""The ports of one simulated server: pulse, machine, drivers, fence devices, local files."""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from typing import Any

from reconciler.decide.hearing import PathView, PeersView, PeerView
from reconciler.decide.snapshot import KnownStore, Specs
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest
from reconciler.ports.probes import Sample
from specs.cluster import Timing
from specs.monitor import Monitor
from specs.resource import Resource
from tests.simulation.virtual_time import SimClock
from tests.simulation.world import NETWORKS, World

_NEVER = 10_000
_EVER = float("inf")


class SimPeers:
    """The pulse as path state: what is heard follows from links and power, with miss times."""

    def __init__(self, world: World, me: str, clock: SimClock, timing: Timing) -> None:
        self._world, self._me, self._clock, self._timing = world, me, clock, timing
        self._event = asyncio.Event()
        # Whoever cuts a link or the power, this server's own pulse notices.
        self._context = copy_context()
        self._view = PeersView(taken_at=float("-inf"))
        self._viewed: tuple[float, int] | None = None
        world.hosts[me].memory.setdefault("store", "unknown")
        world.version += 1
        world.listeners[me] = self._on_change

    def _on_change(self) -> None:
        h, k = self._timing.heartbeat_interval, self._timing.heartbeat_misses
        for delay in (0.001, 2.2 * h, (k + 0.2) * h, (k + 1.2) * h):
            self._world.loop.call_later(delay, self._event.set, context=self._context)

    def _heard_at(self, sender: str, hearer: str, network: str) -> float | None:
        """World time of the newest heartbeat on this path."""
        world, h = self._world, self._timing.heartbeat_interval
        host, path = world.hosts[sender], (sender, hearer, network)
        up_since = max(world.healed.get(path, 0.0), host.pulse_up_since)
        last = min(world.loop.now, world.broken.get(path, _EVER), world.frozen.get(sender, _EVER))
        if not host.powered:
            last = min(last, world.died_at.get(sender, 0.0))
        # A pulse knows nothing from before its own start.
        known = last >= max(up_since, world.hosts[hearer].pulse_up_since)
        return last - (last % h) if known and host.boot else None

    def _missed(self, sender: str, hearer: str) -> int:
        """Heartbeats of `sender` that `hearer` misses by now on its best path."""
        now, h = self._world.loop.now, self._timing.heartbeat_interval
        heard = [self._heard_at(sender, hearer, network) for network in NETWORKS]
        return min(_NEVER if at is None else int((now - at) / h) for at in heard)

    def _peer(self, sender: str) -> PeerView:
        now, h = self._world.loop.now, self._timing.heartbeat_interval
        paths = {}
        for network in NETWORKS:
            heard = self._heard_at(sender, self._me, network)
            missed = _NEVER if heard is None else int((now - heard) / h)
            at = None if heard is None else self._clock.at(heard)
            paths[network] = PathView(at, missed)
        fewest = min(path.missed for path in paths.values())
        heard_at = max((p.heard_at for p in paths.values() if p.heard_at is not None), default=None)
        reachable = fewest < 2
        host = self._world.hosts[sender]
        return PeerView(
            server=sender,
            paths=paths,
            heard_at=heard_at,
            suspect=fewest >= 2,
            silent=fewest >= self._timing.heartbeat_misses,
            boot_id=host.boot_id if heard_at is not None else None,
            sees_silent=self._seen_silent_by(sender) if reachable else frozenset(),
            store=str(host.memory.get("store", "unknown")),
            agent_alive=True,
        )

    def _seen_silent_by(self, other: str) -> frozenset[str]:
        return frozenset(
            name
            for name in self._world.names
            if name != other and self._missed(name, other) >= self._timing.heartbeat_misses
        )

    def view(self) -> PeersView:
        key = (self._world.loop.now, self._world.version)
        if self._viewed != key:
            peers = {name: self._peer(name) for name in self._world.names if name != self._me}
            self._view = PeersView(taken_at=self._clock.now(), peers=peers, pulse_alive=True)
            self._viewed = key
        return self._view

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()

    def report(self, *, store: str, proof_until: float | None) -> None:
        memory = self._world.hosts[self._me].memory
        if memory.get("store") != store:
            memory["store"] = store
            self._world.version += 1


class SimDriver:
    """A resource on a simulated host; slow, failing or late as the world says."""

    def __init__(self, world: World, server: str, resource: Resource, clock: SimClock) -> None:
        self._world, self._server, self._clock = world, server, clock
        self._name, self._group = resource.metadata.name, resource.spec.group

    async def _take_time(self) -> None:
        host, rng = self._world.hosts[self._server], self._world.rng
        await self._clock.sleep(0.005 + rng.random() * (0.02 + host.slow_drivers_s))

    async def observe(self) -> Observation:
        epoch = self._world.hosts[self._server].active.get(self._name)
        state = ResourceState.INACTIVE if epoch is None else ResourceState.ACTIVE
        return Observation(state, epoch=epoch)

    async def activate(self, permit: Permit) -> None:
        host, rng = self._world.hosts[self._server], self._world.rng
        if self._name in host.active:
            permit.check()
            host.active[self._name] = permit.epoch
            return
        await self._take_time()
        if host.failing_starts or (host.failing_drivers and rng.random() < 0.5):
            raise ResourceError("simulated failure before the start")
        permit.check()
        self._world.start_resource(self._server, self._group, self._name, permit.epoch)
        if host.failing_drivers and rng.random() < 0.3:
            raise ResourceError("simulated failure after the start")

    async def deactivate(self, epoch: int) -> None:
        host = self._world.hosts[self._server]
        await self._take_time()
        if host.active.get(self._name, epoch + 1) <= epoch:
            if host.failing_drivers and self._world.rng.random() < 0.2:
                raise ResourceError("simulated failure of a stop")
            self._world.stop_resource(self._server, self._name)

    async def changed(self) -> None:
        host = self._world.hosts[self._server]
        before = self._name in host.active
        while (self._name in host.active) == before:
            await self._clock.sleep(0.5)

    async def close(self) -> None:
        """Nothing is kept up."""


class SimDevice:
    """A BMC: ok, dead, slow, says-on (works, never confirms), says-off (reads off whatever is, and
    does nothing), lies (takes the command, reads off from then on, does nothing)."""

    def __init__(self, world: World, server: str, clock: SimClock, power: Any) -> None:
        self._world, self._server, self._clock, self._power = world, server, clock, power
        self._lied = False

    async def _answer(self) -> str:
        mode = self._world.hosts[self._server].bmc
        if mode == "dead":
            await self._clock.sleep(2.0)
            raise FenceError("no answer within 2 s")
        await self._clock.sleep(0.01 + (self._world.rng.random() * 4 if mode == "slow" else 0))
        return mode

    def _reads(self, mode: str) -> PowerState:
        on = self._world.hosts[self._server].powered or mode == "says-on"
        on = on and mode != "says-off" and not (mode == "lies" and self._lied)
        return PowerState.ON if on else PowerState.OFF

    async def power_off(self, valid_until: float) -> PowerOffReport:
        mode = await self._answer()
        before = self._reads(mode)
        if self._clock.now() >= valid_until:
            raise FenceError("too late to send the command")
        if before is PowerState.ON:
            self._lied = mode == "lies"
            if not self._lied:
                self._power(self._server, False)
            mode = await self._answer()
        return PowerOffReport(before, self._reads(mode), f"guid-{self._server}", 10.0)

    async def power_on(self) -> None:
        await self._answer()
        self._power(self._server, True)

    async def power_cycle(self) -> None:
        await self._answer()
        self._power(self._server, False)
        self._power(self._server, True)

    async def status(self) -> PowerState:
        return self._reads(await self._answer())

    async def identify(self, seconds: int) -> None:
        await self._answer()

    async def self_test(self) -> SelfTest:
        mode = await self._answer()
        return SelfTest(True, "ok", 10.0, f"guid-{self._server}", self._reads(mode))

    async def prepare(self) -> None:
        await self._answer()


class SimPower:
    def __init__(self, world: World, clock: SimClock, power: Any) -> None:
        self._world, self._clock, self._set = world, clock, power

    def device(self, level: Mapping[str, Any]) -> SimDevice:
        return SimDevice(self._world, str(level["server"]), self._clock, self._set)


class SimProber:
    """Asks the public network who still answers for an address (a resource's name here)."""

    def __init__(self, world: World, me: str, clock: SimClock) -> None:
        self._world, self._me, self._clock = world, me, clock

    async def probe(self, addresses: Sequence[str]) -> Mapping[str, str]:
        await self._clock.sleep(0.03)
        found = {}
        for address in addresses if self._world.answering else ():
            for host in self._world.hosts.values():
                runs = address in host.active and host.powered and host.name != self._me
                if runs and self._world.link_up(host.name, self._me, "public"):
                    found[address] = f"mac-of-{host.name}"
        return found


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
    """`disk` survives a power cycle, `memory` only the agent."""

    def __init__(self, disk: dict[str, Any], memory: dict[str, Any]) -> None:
        self._disk = disk
        self._dropped = disk.setdefault("dropped", {})
        self._started = memory.setdefault("started", {})

    def dropped_epochs(self) -> Mapping[str, int]:
        return dict(self._dropped)

    def drop_epoch(self, group: str, epoch: int) -> None:
        self._dropped[group] = epoch

    def known_store(self) -> KnownStore | None:
        return self._disk.get("store")

    def remember_store(self, known: KnownStore) -> None:
        self._disk["store"] = known

    def started_groups(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(self._started)

    def save_started(self, group: str, started: Mapping[str, Any] | None) -> None:
        if started is None:
            self._started.pop(group, None)
        else:
            self._started[group] = started
