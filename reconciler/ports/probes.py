"""Where probes of monitors run: away from the agent, in time or not at all.

`adapters.linux.probes` implements it with a process of its own; tests bring their twin. A probe
that can hang (a command, a network) goes through here, never through the agent's own threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class ProbeUnavailable(Exception):
    """The probe could not be made at all: it says nothing about what it looks at."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one probe found. `healthy` None means that it could not be made: no failure, no
    success. `reason` is one sentence; `output` the end of what the probe wrote, bounded;
    `exit_code` that of a command which ended by itself. `warning`: healthy, but somebody should
    look; nothing is recovered for it."""

    healthy: bool | None
    reason: str = ""
    output: str = ""
    exit_code: int | None = None
    warning: bool = False


class Probes(Protocol):
    """Probes by name; which there are, and what they take, is in `reconciler.probe`."""

    async def run(self, name: str, settings: Mapping[str, Any], timeout_s: float) -> Sample:
        """One probe. After `timeout_s` it has failed, and every process that it started is gone.
        Raises `ProbeUnavailable`."""
        ...
