"""The machine's clock, for the agent and the tests that run against real processes."""

import asyncio
import time


class MonotonicClock:
    """`ports.clock.Clock` on CLOCK_MONOTONIC, shared with the pulse and every other process."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
