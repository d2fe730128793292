"""This server as a machine: identity of its current boot, and ways to end it."""

from typing import Protocol


class ResetRefused(Exception):
    """This process was not given the right to end the machine, or the kernel refused."""


class Machine(Protocol):
    """None of the ways to end it stops anything in order, and none returns when it worked. Inside a
    PID namespace each ends exactly that namespace. All raise `ResetRefused`."""

    def boot_id(self) -> str:
        """Random id made once per power-on."""
        ...

    async def reset(self, reason: str) -> None:
        """Restart the kernel at once (self-fencing)."""
        ...

    async def power_off(self, reason: str) -> None:
        """Switch off at once."""
        ...

    async def crash(self, reason: str) -> None:
        """Make the kernel panic, which leaves a dump where one is configured."""
        ...
