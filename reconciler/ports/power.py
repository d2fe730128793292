"""Fence devices: power control of another server, with read-back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class PowerState(StrEnum):
    ON = "on"
    OFF = "off"


class FenceError(Exception):
    """The device refused, answered nonsense or did not answer in time; nothing is proven."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Result of a self-test of one fence device from one server; changes nothing."""

    ok: bool
    detail: str
    duration_ms: float
    guid: str | None = None
    power: PowerState | None = None


@dataclass(frozen=True, slots=True)
class PowerOffReport:
    """What the device said: state before, state read after the command, its system GUID. A device
    that ends a boot rather than the power says which `boot_id` it ended."""

    before: PowerState
    after: PowerState
    guid: str | None
    duration_ms: float
    boot_id: str | None = None


Wanted = Callable[[], None]
"""Raises `FenceError` when the reason for a power-off is gone. Threads of devices call it."""


def always() -> None:
    """Of a power-off whose reason cannot go away."""


class FenceDevice(Protocol):
    """One way to control a server's power. Every call ends within the device's own time-out and
    raises `FenceError`, never another exception."""

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        """Read state, command *off*, read until *off*. The command leaves only while the monotonic
        clock is before `valid_until` and `wanted()` has nothing against it, both checked right
        before the packet. A device that reads *off* before the command is read a second time and
        then reports before=off, after=off. `boots` are the only ones that a device which ends a
        boot, rather than the power, may end."""
        ...

    async def power_on(self) -> None: ...

    async def power_cycle(self) -> None: ...

    async def status(self) -> PowerState: ...

    async def identify(self, seconds: int) -> None: ...

    async def self_test(self) -> SelfTest: ...

    async def prepare(self) -> None:
        """Open a session early, if that saves time later; failures are left for the real call."""
        ...


class Power(Protocol):
    """Builds devices from the `fencing.levels` of a Server spec."""

    def device(self, level: Mapping[str, Any]) -> FenceDevice: ...
