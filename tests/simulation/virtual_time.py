"""An event loop whose time jumps from timer to timer, and whose servers can stand still or die.

Every task runs in the context of an incarnation ("n1#2"): a paused one keeps its callbacks until it
resumes, a dead one never runs again. `_run_once` is private CPython API; a test pins it.
"""

import asyncio
import random
import selectors
from asyncio import Handle
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

INCARNATION: ContextVar[str] = ContextVar("incarnation", default="")


class _Jump(selectors.SelectSelector):
    """Never blocks: time jumps to the next timer."""

    loop: "SimLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled")
        if timeout > 0:
            self.loop.now += timeout
        return super().select(0)


class SimLoop(asyncio.SelectorEventLoop):
    """`now` is virtual seconds; the order of ready callbacks comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.paused: set[str] = set()
        self.dead: set[str] = set()
        self._held: dict[str, list[Handle]] = {}
        selector = _Jump()
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if self.paused or self.dead:
            self._hold_back()
        if len(self._ready) > 1:  # type: ignore[attr-defined]
            handles = list(self._ready)  # type: ignore[attr-defined]
            self.rng.shuffle(handles)
            self._ready.clear()  # type: ignore[attr-defined]
            self._ready.extend(handles)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]

    def _hold_back(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        kept = []
        for handle in ready:
            where = handle._context.get(INCARNATION, "") if handle._context else ""
            if where in self.dead:
                continue
            if where in self.paused:
                self._held.setdefault(where, []).append(handle)
            else:
                kept.append(handle)
        ready.clear()
        ready.extend(kept)

    def resume(self, incarnation: str) -> None:
        self.paused.discard(incarnation)
        self._ready.extend(self._held.pop(incarnation, []))  # type: ignore[attr-defined]

    def kill(self, incarnation: str) -> None:
        self.dead.add(incarnation)
        self._held.pop(incarnation, None)

    def spawn(self, incarnation: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of this incarnation; everything that it starts belongs to it too."""
        context = copy_context()
        context.run(INCARNATION.set, incarnation)
        task = asyncio.Task(work, loop=self, context=context)
        # A killed server's tasks are never finished: that is the point, not a mistake.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task


class SimClock:
    """A server's clock: runs `rate` times as fast as the world's, from an offset of its own."""

    def __init__(self, loop: SimLoop, rate: float = 1.0, offset: float = 0.0) -> None:
        self._loop, self._rate, self._offset = loop, rate, offset

    def now(self) -> float:
        return self._loop.now * self._rate + self._offset

    def at(self, world_time: float) -> float:
        """What this clock showed, or will show, at a moment of the world's time."""
        return world_time * self._rate + self._offset

    def wall(self) -> float:
        return 1_700_000_000.0 + self._loop.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self._rate)
