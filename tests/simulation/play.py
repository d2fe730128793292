"""Runs one story (an async function on a `SimCluster`) from a seed; chaos, scenarios and guards
call it. Same seed and story, same trace."""

import asyncio
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.simulation.cluster import SimCluster
from tests.simulation.variants import PLAIN, Variant
from tests.simulation.virtual_time import SimLoop
from tests.simulation.world import Violation

Story = Callable[[SimCluster], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violation: str | None
    trace: tuple[str, ...]

    def happened(self, event: str) -> bool:
        return any(event in line for line in self.trace)


def play(seed: int, story: Story, size: int = 3, variant: Variant = PLAIN) -> Outcome:
    # Killed servers' coroutines never run to their end; Python complains while it frees them.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what ended before it began
            try:
                return _play(seed, story, size, variant)
            finally:
                gc.collect()
    finally:
        gc.enable()
        sys.unraisablehook = hook


def _play(seed: int, story: Story, size: int, variant: Variant) -> Outcome:
    loop = SimLoop(seed)
    asyncio.set_event_loop(loop)
    # Agents report their own ends; what the store finds out is in `World.violations`.
    loop.set_exception_handler(lambda *_: None)
    cluster = SimCluster(loop, size, variant=variant)
    violation: str | None = None
    try:
        loop.run_until_complete(_told(cluster, story))
    except (Violation, RuntimeError) as error:  # deadlock and livelock break a promise too
        violation = str(error)
    trace = tuple(cluster.world.trace)
    asyncio.set_event_loop(None)
    loop.close()
    return Outcome(seed, violation, trace)


async def _told(cluster: SimCluster, story: Story) -> None:
    await cluster.apply_first()
    await story(cluster)
    cluster.check()


async def until(
    cluster: SimCluster, condition: Callable[[], bool], what: str, within_s: float = 60.0
) -> None:
    """Virtual time passes until the condition holds; raises `Violation` if it never does."""
    end = cluster.loop.now + within_s
    while not condition():
        if cluster.loop.now > end:
            raise Violation(f"not within {within_s} s: {what}")
        await asyncio.sleep(0.02)
        cluster.check()


async def never(
    cluster: SimCluster, condition: Callable[[], bool], what: str, for_s: float
) -> None:
    """The condition does not hold at any moment of this time; raises `Violation` if it does."""
    end = cluster.loop.now + for_s
    while cluster.loop.now < end:
        if condition():
            raise Violation(f"never promised: {what}")
        await asyncio.sleep(0.02)
        cluster.check()
