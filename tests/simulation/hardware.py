"""A server's hardware watchdog: it resets the machine when nobody has fed it for its time-out,
also while the machine stands still. The pulse has a `SimWatchdog` of it, the agent a `SimKeeper`.
"""

from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.facts import Watched

if TYPE_CHECKING:
    from tests.simulation.world import World

FIRST_TIMEOUT_S = 60.0
FEEDS_PER_TIMEOUT = 5


class Hardware:
    """Opened is armed. It lives until the power goes."""

    def __init__(self, world: "World", server: str) -> None:
        self._world, self._server = world, server
        self._rate = world.hosts[server].clock.rate
        self.timeout = FIRST_TIMEOUT_S
        self.fed_at = world.loop.now
        self.disarmed = False
        self._look()

    def set_timeout(self, seconds: float) -> None:
        self.timeout = seconds
        self.feed()
        self._look()

    def feed(self) -> None:
        self.fed_at = self._world.loop.now

    def _look(self) -> None:
        host = self._world.hosts[self._server]
        if self.disarmed or host.hardware not in (None, self):
            return
        left = self.fed_at + self.timeout / self._rate - self._world.loop.now
        if left > 1e-6:
            self._world.loop.call_later(left, self._look, context=Context())
        elif host.hardware is self:
            self._world.note("watchdog_bit", server=self._server)
            self._world.set_power(self._server, False, "watchdog")
            self._world.set_power(self._server, True, "watchdog")


class SimKeeper:
    """`adapters.linux.watchdog.WatchdogKeeper`, kept by the supervisor over agents."""

    def __init__(self, world: "World", server: str) -> None:
        self._world, self._server = world, server

    def descriptor(self, path: Path) -> int:
        del path
        host = self._world.hosts[self._server]
        if host.hardware is None:
            host.hardware = Hardware(self._world, self._server)
        return 3

    @property
    def is_open(self) -> bool:
        return self._world.hosts[self._server].hardware is not None

    def forget(self) -> None:
        """The simulated device always works."""


class SimWatchdog:
    """`pulse.watchdog.Watchdog` with the kernel's device, whose time-out cannot be set without
    feeding it."""

    def __init__(self, world: "World", server: str) -> None:
        self._world, self._server = world, server
        self._fed_at = float("-inf")
        self.timeout, self.error = 0, ""

    def take(
        self, descriptor: int, seconds: float, now: float, stall: float, *, may_feed: bool
    ) -> bool:
        del descriptor, stall
        hardware = self._world.hosts[self._server].hardware
        if hardware is None:
            raise OSError("no watchdog is open")
        if may_feed and hardware.timeout != seconds:
            hardware.set_timeout(seconds)
        if self.timeout != hardware.timeout:
            self._world.emit(Watched(self._world.loop.now, self._server, hardware.timeout))
        self.timeout, self._fed_at = int(hardware.timeout), float("-inf")
        return may_feed or self.timeout == seconds

    def feed(self, now: float) -> None:
        hardware = self._world.hosts[self._server].hardware
        if hardware is None or now - self._fed_at < self.timeout / FEEDS_PER_TIMEOUT:
            return
        hardware.feed()
        self._fed_at = now

    def disarm(self) -> str:
        hardware = self._world.hosts[self._server].hardware
        if hardware is not None:
            hardware.disarmed = True
        self._world.hosts[self._server].hardware, self.timeout = None, 0
        return ""
