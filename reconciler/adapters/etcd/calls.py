"""How often and where one call is tried: in turn for reads and plain writes, hedged otherwise.

Used by `store`. Nothing here knows what a request means.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from reconciler.adapters.etcd.endpoints import Endpoint, Endpoints
from reconciler.adapters.etcd.failure import AttemptFailed, Kind, indeterminate, store_error
from reconciler.adapters.etcd.wire import Wire
from reconciler.ports.store import StoreError

T = TypeVar("T")
Send = Callable[[Wire, float], Awaitable[T]]  # (member, time-out in seconds)

ATTEMPT_S = 0.7
_MIN_ATTEMPT_S = 0.01
_JITTER = random.SystemRandom()


class Calls:
    """`hedge_s` is the spacing of hedged attempts, `attempt_s` the deadline of the first ones."""

    def __init__(self, endpoints: Endpoints, hedge_s: float, attempt_s: float = ATTEMPT_S) -> None:
        self._endpoints = endpoints
        self._hedge_s = hedge_s
        self._attempt_s = attempt_s

    async def in_turn(self, what: str, send: Send[T], timeout_s: float, *, once: bool = False) -> T:
        """One member after the other until one answers; deadlines double with each round.

        With `once` (a write that must not be repeated) an attempt that may have arrived ends the
        call with `Indeterminate`; without, the time-out ends in `Unavailable`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        failures: list[AttemptFailed] = []
        attempt_s = self._attempt_s
        while True:
            for endpoint in self._endpoints.in_order():
                left = deadline - loop.time()
                if left < _MIN_ATTEMPT_S:
                    raise store_error(failures, what)
                # A write that is tried once gets all the time there is.
                budget = left if once else min(attempt_s, left)
                try:
                    return await attempt(self._endpoints, endpoint, send, budget)
                except AttemptFailed as failure:
                    failures.append(failure)
                    if failure.is_final:
                        raise store_error(failures, what) from None
                    if once and failure.may_have_happened:
                        raise indeterminate(failures, what) from None
            if all(failure.kind is Kind.UNTRUSTED for failure in failures):
                raise store_error(failures, what)
            attempt_s *= 2
            pause = self._hedge_s * _JITTER.uniform(0.5, 1.5)
            await asyncio.sleep(max(0.0, min(pause, deadline - loop.time())))

    async def hedged(
        self,
        what: str,
        send: Send[T],
        timeout_s: float,
        conclusive: Callable[[T], bool] = lambda _answer: True,
    ) -> T:
        """A new attempt at the next member each `hedge_s`; the first conclusive answer wins.

        An answer that is not conclusive waits for the attempts under way, because one of them may
        still change it. Raises `Indeterminate` when an attempt may have arrived unanswered.
        """
        race = _Race(self._endpoints, what, send, conclusive)
        try:
            return await race.run(timeout_s, self._hedge_s, self._attempt_s)
        finally:
            await race.cancel()


class _Race(Generic[T]):
    """One hedged call: its attempts under way and what is known of those that ended."""

    def __init__(
        self, endpoints: Endpoints, what: str, send: Send[T], conclusive: Callable[[T], bool]
    ) -> None:
        self._endpoints = endpoints
        self._order = endpoints.in_order()
        self._what = what
        self._send = send
        self._conclusive = conclusive
        self._running: dict[asyncio.Task[T], Endpoint] = {}  # in the order of their start
        self._failures: list[AttemptFailed] = []
        self._launched = 0
        self._unknown = False
        self._held_back: list[T] = []

    async def run(self, timeout_s: float, hedge_s: float, attempt_s: float) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        launch_at = loop.time()
        while True:
            now = loop.time()
            if deadline - now < _MIN_ATTEMPT_S:
                raise self._out_of_time()
            if now >= launch_at and not self._held_back:
                self._launch(min(attempt_s, deadline - now))
                launch_at = now + hedge_s
            failed_before = len(self._failures)
            wake_at = deadline if self._held_back else min(launch_at, deadline)
            await self._wait(wake_at - now)
            for answer in self._collect():
                return answer
            # A member that refuses at once costs nothing; all of them refusing wait their turn.
            if failed_before < len(self._failures) < len(self._order):
                launch_at = loop.time()

    def _launch(self, budget_s: float) -> None:
        endpoint = self._order[self._launched % len(self._order)]
        self._launched += 1
        task = asyncio.get_running_loop().create_task(
            attempt(self._endpoints, endpoint, self._send, budget_s)
        )
        self._running[task] = endpoint

    async def _wait(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(
                self._running, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
            )
        else:
            await asyncio.sleep(max(0.0, seconds))

    def _collect(self) -> list[T]:
        """The deciding answer, if there is one by now; raises if the call is over without."""
        for task in [task for task in self._running if task.done()]:
            earlier = list(self._running)[: list(self._running).index(task)]
            del self._running[task]
            failure = task.exception()
            if failure is None:
                answer = task.result()
                if self._conclusive(answer):
                    self._put_slow_last(earlier)
                    return [answer]
                self._held_back.append(answer)
            elif isinstance(failure, AttemptFailed):
                self._failures.append(failure)
                self._unknown = self._unknown or failure.may_have_happened
                if failure.is_final:
                    raise store_error(self._failures, self._what)
            else:
                raise failure
        if self._held_back and not self._running:
            if self._unknown:
                raise indeterminate(self._failures, self._what)
            return self._held_back[-1:]
        return []

    def _put_slow_last(self, earlier: list["asyncio.Task[T]"]) -> None:
        # The winner started later than these: their members are slow or frozen.
        for task in earlier:
            if task in self._running and not task.done():
                self._endpoints.put_last(self._running[task])

    def _out_of_time(self) -> StoreError:
        if self._unknown or self._running or self._held_back:
            return indeterminate(self._failures, self._what)
        return store_error(self._failures, self._what)

    async def cancel(self) -> None:
        """End the attempts that nobody needs any more."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
            for task in running:
                if not task.cancelled():
                    task.exception()  # seen: the call is decided already


async def attempt(endpoints: Endpoints, endpoint: Endpoint, send: Send[T], budget_s: float) -> T:
    """One attempt at one member; a failing member goes to the end of the order."""
    try:
        try:
            return await send(endpoint.wire(), budget_s)
        except AttemptFailed as failure:
            if failure.kind is not Kind.UNTRUSTED or not await endpoint.renew():
                raise
            return await send(endpoint.wire(), budget_s)
    except AttemptFailed as failure:
        if failure.is_member_away:
            endpoints.put_last(endpoint)
        raise
