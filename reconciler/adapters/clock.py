"""The machine's clock, for the agent and the tests that run against real processes."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

# A test switch: names a file with seconds by which the wall clock is wrong, if it is there. Set in
# labs only; nothing that is safe may depend on the wall clock, and so it can be shown.
OFFSET_VARIABLE = "CLUSTERCTL_WALL_OFFSET_FILE"


class MonotonicClock:
    """`ports.clock.Clock` on CLOCK_MONOTONIC, shared with the pulse and every other process."""

    def __init__(self) -> None:
        named = os.environ.get(OFFSET_VARIABLE)
        self._offset_file = Path(named) if named else None

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + self._offset_s()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, act).cancel

    def _offset_s(self) -> float:
        if self._offset_file is None:
            return 0.0
        try:
            return float(self._offset_file.read_text())
        except (OSError, ValueError):
            return 0.0  # the clock is right
