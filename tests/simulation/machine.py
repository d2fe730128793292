"""What an agent has of its simulated machine: its events and its power."""

from typing import TYPE_CHECKING, Any

from tests.simulation.facts import Told
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


class SimEvents:
    def __init__(self, world: World, server: str) -> None:
        self._world, self._server = world, server

    def emit(self, name: str, /, **fields: Any) -> None:
        self._world.note(f"{self._server} {name}", **fields)
        self._world.emit(Told(self._world.loop.now, self._server, name, tuple(fields.items())))


class SimMachine:
    def __init__(self, cluster: "SimCluster", server: str) -> None:
        self._cluster, self._server = cluster, server

    def boot_id(self) -> str:
        return self._cluster.world.hosts[self._server].boot_id

    async def reset(self, reason: str) -> None:
        self._cluster.world.note("reset", server=self._server, reason=reason)
        self._cluster.set_power(self._server, False, "itself")
        self._cluster.set_power(self._server, True, "itself")

    async def power_off(self, reason: str) -> None:
        self._cluster.world.note("power_off", server=self._server, reason=reason)
        self._cluster.set_power(self._server, False, "itself")

    async def crash(self, reason: str) -> None:
        await self.power_off(reason)
