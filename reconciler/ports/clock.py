"""Time, as the loops see it."""

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds decide; wall-clock seconds are only ever displayed."""

    def now(self) -> float:
        """Seconds on CLOCK_MONOTONIC, shared by every process of this server."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for people to read; never used in a decision."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller for at least `seconds`."""
        ...

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        """Call `act` in `seconds`, unless what is returned is called before. It must not raise."""
        ...
