"""BMCs of simulated servers, and the network's word on who still answers for an address.

Modes: ok; dead; slow (answers late, goes on with what its caller gave up); says-on (works and never
confirms); says-off (reads off whatever is, does nothing); lies (takes the command, reads off from
then on, does nothing); swapped (it is the BMC of another server).
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from reconciler.ports.power import (
    FenceDevice,
    FenceError,
    PowerOffReport,
    PowerState,
    SelfTest,
    Wanted,
    always,
)
from tests.simulation.ears import MISSES
from tests.simulation.facts import PowerCommand
from tests.simulation.quorum import SimPill
from tests.simulation.virtual_time import SimClock
from tests.simulation.world import World

MODES = ("ok", "dead", "slow", "says-on", "says-off", "lies", "swapped")
LIES = ("says-off", "lies")
TIMEOUT_S = 2.0
STEADY_S = 1.0
# A device that is slow to open its session (1.5 s) sends what was right when that began.
HEARD_S = 2.0

SetPower = Callable[[str, bool, str], None]


class SimDevice:
    """`compares_guid`: as the product's device types do before they command anything."""

    compares_guid = True

    def __init__(
        self, world: World, me: str, level: Mapping[str, Any], clock: SimClock, power: SetPower
    ) -> None:
        self._world, self._me, self._clock, self._power = world, me, clock, power
        self._named, self._guid = str(level["server"]), level.get("guid")

    @property
    def _mode(self) -> str:
        """One that lies about a server that nobody can hear or reach is beyond any promise."""
        mode = self._world.hosts[self._named].bmc
        return "dead" if mode in LIES and not self._can_be_caught() else mode

    def _can_be_caught(self) -> bool:
        world, host = self._world, self._world.hosts[self._named]
        if self._named == self._me or not host.powered:
            return True
        if world.ears.missed(self._named, self._me) < MISSES:
            return True
        reachable = world.link_up(self._named, self._me, "public")
        return world.answering and bool(host.active) and reachable

    @property
    def _server(self) -> str:
        """Whom this device really controls."""
        if self._mode != "swapped":
            return self._named
        names = self._world.names
        return names[(names.index(self._named) + 1) % len(names)]

    async def _answer(self) -> str:
        mode = self._mode
        if mode == "dead":
            await self._clock.sleep(TIMEOUT_S)
            raise FenceError(f"no answer within {TIMEOUT_S:.0f} s")
        await self._clock.sleep(
            0.005 + self._world.rng.random() * (1.5 if mode == "slow" else 0.01)
        )
        return mode

    def _reads(self, mode: str) -> PowerState:
        lied = self._world.hosts[self._named].memory.get("bmc_lied", False)
        on = self._world.hosts[self._server].powered or mode == "says-on"
        on = on and mode != "says-off" and not (mode == "lies" and lied)
        return PowerState.ON if on else PowerState.OFF

    def _identity(self) -> str:
        guid = f"guid-{self._server}"
        if self.compares_guid and self._guid is not None and guid != self._guid:
            raise FenceError(f"the device is {guid}, expected {self._guid}")
        return guid

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        mode = await self._answer()
        guid, before = self._identity(), self._reads(mode)
        if self._clock.now() >= valid_until:
            raise FenceError("too late to send the command")
        if before is PowerState.ON:
            wanted()
        if before is PowerState.ON:
            self._command(mode)
            mode = await self._off(mode)
        return PowerOffReport(before, self._reads(mode), guid, 10.0)

    def _command(self, mode: str) -> None:
        world, victim = self._world, self._server
        world.note("power_command", server=victim, by=self._me, bmc=mode)
        world.emit(
            PowerCommand(
                world.loop.now,
                victim,
                self._me,
                self._hearers(victim),
                self._answers(victim),
                self._quorum_without(victim),
            )
        )
        if mode == "lies":
            world.hosts[self._named].memory["bmc_lied"] = True
        elif mode == "slow":
            delay = world.rng.random() * 4
            world.loop.call_later(delay, self._power, victim, False, "bmc", context=Context())
        else:
            self._power(victim, False, "bmc")

    async def _off(self, mode: str) -> str:
        """Read until off, or until the time is over."""
        end = self._clock.now() + TIMEOUT_S
        while mode == "slow" and self._reads(mode) is PowerState.ON and self._clock.now() < end:
            await self._clock.sleep(0.2)
        return await self._answer()

    def _hearers(self, victim: str) -> tuple[str, ...]:
        """Whom the executor hears, and who hears the victim, both without a doubt for a while."""
        world = self._world
        near = [n for n in world.names if n not in (victim, self._me) and world.stands(n)]
        near = [n for n in near if world.ears.is_steady(n, self._me, HEARD_S)]
        return tuple(n for n in near if world.ears.is_steady(victim, n, HEARD_S))

    def _quorum_without(self, victim: str) -> bool:
        world = self._world
        others = sum(world.stands(name) for name in world.names if name != victim)
        unsteady = world.loop.now - world.machines_at < 2 * STEADY_S
        return unsteady or others * 2 > len(world.names)

    def _answers(self, victim: str) -> bool:
        world, host = self._world, self._world.hosts[victim]
        troubles = world.changed_at, world.store_trouble_at, world.store_stall_until
        steady = world.loop.now - max(*troubles, host.agent_since)
        return bool(
            host.incarnations.get("agent")
            and host.incarnations["agent"] not in world.loop.paused
            and steady > 5.0
            and world.stands(victim)
            and not (world.store_trouble or world.lag)
            and world.paths.reachable(victim)
            and world.paths.reachable(self._me)
        )

    async def power_on(self) -> None:
        await self._answer()
        self._identity()
        self._power(self._server, True, "bmc")

    async def power_cycle(self) -> None:
        await self._answer()
        self._identity()
        self._power(self._server, False, "bmc")
        self._power(self._server, True, "bmc")

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
    def __init__(self, world: World, me: str, clock: SimClock, power: SetPower) -> None:
        self._world, self._me, self._clock, self._set = world, me, clock, power

    def device(self, level: Mapping[str, Any]) -> FenceDevice:
        if level["type"] == "poison-pill":
            return SimPill(self._world, self._me, level, self._clock)
        return SimDevice(self._world, self._me, level, self._clock, self._set)


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
