"""Heartbeats as path state: who hears whom follows from links and power, with computed misses.

The pulse's packet logic has its own tests; here a heartbeat is a tick of the world's clock that
arrives, or not. `World` owns one; `SimPeers` and the simulated pulse ask it.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.world import World

NETWORKS: Final = ("private", "public")
HEARTBEAT_S: Final = 0.05
MISSES: Final = 4
NEVER: Final = 10_000
_LIVE: Final = -1


def path_of_heartbeats(network: str) -> str:
    """The part of a network that carries heartbeats, to cut it alone."""
    return f"{network}/heartbeat"


def _paths(network: str) -> tuple[str, str]:
    return network, path_of_heartbeats(network)


class Ears:
    """`tick` counts heartbeats since the world began."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._version = -1
        self._last: dict[tuple[str, str], tuple[int | None, ...]] = {}
        self._all_live: set[tuple[str, str]] = set()
        self._doubtful: dict[str, list[str]] = {}  # for each hearer, who is not heard everywhere
        self._silent_for: dict[str, frozenset[str]] = {}
        self._silent_at = (-1, -1)

    @property
    def tick(self) -> int:
        return int(self._world.loop.now / HEARTBEAT_S + 1e-6)

    def heard(self, sender: str, hearer: str) -> tuple[int | None, ...]:
        """For each network the tick of the newest heartbeat, None if there was none."""
        self._refresh()
        tick = self.tick
        return tuple(tick if at == _LIVE else at for at in self._last[sender, hearer])

    def missed(self, sender: str, hearer: str) -> int:
        """Heartbeats that `hearer` misses by now on its best path."""
        self._refresh()
        if (sender, hearer) in self._all_live:
            return 0
        tick = self.tick
        return min(
            NEVER if at is None else 0 if at == _LIVE else tick - at
            for at in self._last[sender, hearer]
        )

    def is_live(self, sender: str, hearer: str) -> bool:
        """Every network carries the sender's heartbeats right now."""
        self._refresh()
        return (sender, hearer) in self._all_live

    def is_steady(self, sender: str, hearer: str, for_s: float) -> bool:
        """A path has carried every heartbeat for so long."""
        world = self._world
        self._refresh()
        for network, at in zip(NETWORKS, self._last[sender, hearer], strict=True):
            since = self._since(sender, hearer, network)
            if at == _LIVE and world.loop.now - since >= for_s:
                return True
        return False

    def _since(self, sender: str, hearer: str, network: str) -> float:
        world = self._world
        return max(
            world.hosts[hearer].pulse_up_since,
            world.hosts[sender].pulse_up_since,
            *(world.healed.get((sender, hearer, path), 0.0) for path in _paths(network)),
        )

    def silent_for(self, hearer: str) -> frozenset[str]:
        """Whom this server calls silent in its own heartbeats."""
        self._refresh()
        key = (self._version, self.tick)
        if self._silent_at != key:
            self._silent_at, self._silent_for = key, {}
        if hearer not in self._silent_for:
            self._silent_for[hearer] = frozenset(
                name for name in self._doubtful[hearer] if self.missed(name, hearer) >= MISSES
            )
        return self._silent_for[hearer]

    def hears_majority(self, hearer: str) -> bool:
        self._refresh()
        away = sum(self.missed(name, hearer) >= MISSES for name in self._doubtful[hearer])
        return (len(self._world.names) - away) * 2 > len(self._world.names)

    def _refresh(self) -> None:
        world = self._world
        if self._version == world.version:
            return
        self._version = world.version
        self._last = {
            (sender, hearer): tuple(self._newest(sender, hearer, n) for n in NETWORKS)
            for sender in world.names
            for hearer in world.names
            if sender != hearer
        }
        self._all_live = {pair for pair, at in self._last.items() if set(at) == {_LIVE}}
        self._doubtful = {
            hearer: [n for n in world.names if n != hearer and (n, hearer) not in self._all_live]
            for hearer in world.names
        }

    def _newest(self, sender: str, hearer: str, network: str) -> int | None:
        """_LIVE while the path works; else the tick of its last heartbeat."""
        world, host = self._world, self._world.hosts[sender]
        if not host.boot:
            return None
        paths = [(sender, hearer, path) for path in _paths(network)]
        since = self._since(sender, hearer, network)
        cuts = [world.broken[path] for path in paths if path in world.broken]
        if sender in world.frozen:
            cuts.append(world.frozen[sender])
        if not host.powered or host.pulse_down:
            cuts.append(world.died_at.get(sender, 0.0))
        if not cuts:
            return _LIVE if world.loop.now >= since else None
        last = min(cuts)
        return int(last / HEARTBEAT_S + 1e-6) if last >= since else None
