"""This server as a machine: identity of its current boot, and ways to end it."""

from typing import Protocol


class ResetRefused(Exception):
    """This process was not given the right to reset the machine, or the kernel refused."""


class Machine(Protocol):
    def boot_id(self) -> str:
        """Random id made once per power-on."""
        ...

    async def reset(self, reason: str) -> None:
        """Stop this server at once without stopping anything in order (self-fencing).

        Restarts the kernel, or inside a PID namespace ends exactly that namespace. Raises
        `ResetRefused`.
        """
        ...
