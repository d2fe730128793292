"""The real clock, for commands; tests bring their own."""

import asyncio
import time


class SystemClock:
    """Implements `reconciler.ports.clock.Clock`."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
