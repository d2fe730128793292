"""What a resource type's driver offers, and the permit without which it starts nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class PermitExpired(Exception):
    """The right to start this group ended before the irreversible step."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to activate at `epoch`. `is_valid` is asked again right before each irreversible
    step, with no `await` between the answer and the step."""

    epoch: int
    is_valid: Callable[[], bool]

    def check(self) -> None:
        """Raises `PermitExpired` unless the permit holds now."""
        if not self.is_valid():
            raise PermitExpired(f"permit for epoch {self.epoch} is not valid any more")


class ResourceState(StrEnum):
    """UNKNOWN stays unknown: it is never read as inactive."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    PARTIAL = "partial"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Observation:
    """State of one resource on this server; `epoch` is the one it was started at, if known."""

    state: ResourceState
    reason: str = ""
    epoch: int | None = None
    details: dict[str, str] = field(default_factory=dict)


class ResourceError(Exception):
    """Activation or deactivation failed, with a sentence for the administrator.

    `retry` is false when trying again on this server cannot help (e.g. a duplicate address).
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class Driver(Protocol):
    """One resource on this server. All three are idempotent, bounded and safe when half-active."""

    async def observe(self) -> Observation:
        """Changes nothing."""
        ...

    async def prepare(self) -> None:
        """Check and make ready what an activation within the next second need not do then. Starts
        nothing. Raises `ResourceError` when the activation could not succeed now."""
        ...

    async def activate(self, permit: Permit) -> None:
        """Returns when the resource serves; raises `ResourceError` or `PermitExpired`."""
        ...

    async def deactivate(self, epoch: int) -> None:
        """Stops what was started at an epoch <= `epoch`; returns only when it is really gone."""
        ...

    async def changed(self) -> None:
        """Returns when the kernel reports something that may have changed the state."""
        ...

    async def close(self) -> None:
        """End the upkeep of an active resource without stopping it."""
        ...
