"""An event loop whose time jumps from timer to timer, and whose servers can stand still or die.

Every task runs in the context of an incarnation ("n1#2"): a paused one keeps its callbacks until it
resumes, a dead one never runs again. `_run_once` is private CPython API: ours replaces it, because
nothing here ever waits for a file descriptor; a test pins what it relies on. Scheduling is replaced
too: it is a third of a seed's time, and asyncio's own also cares for threads and debugging.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heapify, heappop, heappush
from typing import Any

INCARNATION: ContextVar[str] = ContextVar("incarnation", default="")

# Cancelled timers are swept out when there are more of them than this, and than of living ones.
SWEEP_AT = 200
# Real work at one moment ends after some dozens of rounds; a loop that never waits does not.
ROUNDS_PER_MOMENT = 20_000


class SimHandle:
    """What `asyncio.TimerHandle` offers. `timers` is the loop that counts its cancelled ones; None
    for a callback that is due at once."""

    __slots__ = ("args", "callback", "context", "is_off", "timers")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        timers: "SimLoop | None" = None,
    ) -> None:
        self.callback, self.args, self.is_off, self.timers = callback, args, False, timers
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        if not self.is_off:
            self.is_off = True
            if self.timers is not None:
                self.timers.cancelled_timers += 1

    def cancelled(self) -> bool:
        return self.is_off


class SimLoop(asyncio.SelectorEventLoop):
    """`now` is virtual seconds; the order of ready callbacks comes from the seed."""

    _ready: deque[SimHandle]
    _stopping: bool

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.paused: set[str] = set()
        self.dead: set[str] = set()
        self.cancelled_timers = 0
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._count = 0
        self._held: dict[str, list[SimHandle]] = {}
        self._moment, self._rounds = 0.0, 0
        super().__init__()

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        handle = SimHandle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> SimHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> SimHandle:
        handle = SimHandle(callback, args, context, self)
        self._count += 1
        heappush(self._timers, (when, self._count, handle))
        return handle

    def _run_once(self) -> None:
        """One round: jump to the next timer if nothing is ready, then run all that is, shuffled."""
        self._take_due()
        self._rounds = self._rounds + 1 if self.now == self._moment else 0
        self._moment = self.now
        if self._rounds > ROUNDS_PER_MOMENT:
            raise RuntimeError(f"livelock: time stands still at {self.now:.4f}")
        ready = self._ready
        handles = list(ready)
        ready.clear()
        if len(handles) > 1:
            self._shuffle(handles)
        watched = self.paused or self.dead
        for handle in handles:
            if handle.is_off:
                continue
            if watched and self._is_held_back(handle):
                continue
            handle.context.run(handle.callback, *handle.args)

    def _shuffle(self, handles: list[SimHandle]) -> None:
        """`random.shuffle`, at a third of its price: this is the loop's most frequent draw."""
        draw = self.rng.random
        for i in range(len(handles) - 1, 0, -1):
            j = int(draw() * (i + 1))
            handles[i], handles[j] = handles[j], handles[i]

    def _is_held_back(self, handle: SimHandle) -> bool:
        where = handle.context.get(INCARNATION, "")
        if where in self.dead:
            return True
        if where in self.paused:
            self._held.setdefault(where, []).append(handle)
            return True
        return False

    def _take_due(self) -> None:
        if self.cancelled_timers > SWEEP_AT and self.cancelled_timers * 2 > len(self._timers):
            self._sweep()
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].is_off:
            self._drop_first()
        if not ready and not self._stopping:
            if not timers:
                raise RuntimeError("deadlock: nothing is scheduled")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(self._drop_first())

    def _drop_first(self) -> SimHandle:
        handle = heappop(self._timers)[2]
        handle.timers = None
        self.cancelled_timers -= handle.is_off
        return handle

    def _sweep(self) -> None:
        self._timers = [timer for timer in self._timers if not timer[2].is_off]
        heapify(self._timers)
        self.cancelled_timers = 0

    def close(self) -> None:
        self._timers.clear()
        super().close()

    def resume(self, incarnation: str) -> None:
        self.paused.discard(incarnation)
        self._ready.extend(self._held.pop(incarnation, []))

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
        self._loop, self.rate, self._offset = loop, rate, offset

    def now(self) -> float:
        return self._loop.now * self.rate + self._offset

    def at(self, world_time: float) -> float:
        """What this clock showed, or will show, at a moment of the world's time."""
        return world_time * self.rate + self._offset

    def wall(self) -> float:
        return 1_700_000_000.0 + self._loop.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.rate)

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(max(0.0, seconds) / self.rate, act).cancel
