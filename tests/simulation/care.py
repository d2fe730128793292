"""The product's `PulseCare` of a simulated agent: what its pulse is told beside reports."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reconciler.decide.snapshot import Specs
from reconciler.loops.pulse_care import PulseCare
from reconciler.loops.state import AgentState
from tests.simulation.hardware import SimKeeper
from tests.simulation.pulse import SimPeers
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class _Workload:
    """As a runner records one."""

    name: str
    cgroup: str
    main: None = None
    exit_code: None = None


class _Host:
    """The part of `LinuxHost` that `kill_list` asks: here a resource is a cgroup of its epoch."""

    def __init__(self, world: World, server: str) -> None:
        self._host = world.hosts[server]
        self.runners = self.network = self

    def recorded(self) -> list[_Workload]:
        active = self._host.active
        return [_Workload(name, f"/{name}@{active[name].epoch}") for name in sorted(active)]

    async def addresses(self) -> list[Any]:
        return []


class SimCare(PulseCare):
    def __init__(
        self,
        world: World,
        state: AgentState,
        peers: SimPeers,
        group_of: Callable[[str], str],
        adopted: asyncio.Event,
    ) -> None:
        self._state, self._peers = state, peers  # type: ignore[assignment]
        self._tell = peers.configure
        self._host = _Host(world, state.me)  # type: ignore[assignment]
        self._group_of, self._adopted = group_of, adopted
        self._watchdog = SimKeeper(world, state.me)  # type: ignore[assignment]
        self._armed: tuple[float, float] | None = None
        self._deadline = 0.0
        self._has_watchdog = bool(world.variant.watchdog_s)

    async def run(self) -> None:
        """For ever. Nothing of a watchdog is looked after where there is none."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keep_kill_list())
            if self._has_watchdog:
                tasks.create_task(self.keep_watchdog())

    def configure(self, specs: Specs) -> None:
        self._deadline = self._dead_man(specs.timing.dead_man)
        self._tell(self._deadline)
