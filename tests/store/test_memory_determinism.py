"""The in-memory store does the same for the same seed: on virtual time, faults and all."""

import asyncio
import random
import selectors
from collections.abc import Callable
from typing import Any

from reconciler.adapters.memory import Fate, MemoryState, MemoryStore, NoFaults
from reconciler.ports.store import Put, Store, StoreError, Transaction, Unavailable, Unchanged


class _Jump(selectors.SelectSelector):
    """Never blocks: time jumps to the next timer."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "deadlock: nothing is scheduled"
        self.loop.moment += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.moment = 0.0
        selector = _Jump()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.moment


class DriftingClock:
    def __init__(self, rate: float = 1.0) -> None:
        self._rate = rate

    def now(self) -> float:
        return asyncio.get_running_loop().time() * self._rate

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds / self._rate, act).cancel


class Weather(NoFaults):
    """Everything that can go wrong, drawn from a seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def fate(self, operation: str, key: str) -> Fate:
        draw = self._rng.random()
        if draw < 0.1:
            return Fate(error=Unavailable("drawn"), request_s=self._rng.random())
        if draw < 0.2:
            return Fate(lost=True)
        if draw < 0.3:
            return Fate(request_s=self._rng.random() * 10, reply_lost=draw < 0.25)
        return Fate(request_s=self._rng.random() / 100, reply_s=self._rng.random() / 100)

    def watch_delay_s(self, prefix: str) -> float:
        return self._rng.random() if self._rng.random() < 0.2 else 0.0

    def watch_cut(self, prefix: str) -> str | None:
        return "cut" if self._rng.random() < 0.1 else None

    def lease_lag_s(self, lease: int) -> float:
        return self._rng.random() * 3


async def contender(store: Store, name: str, trace: list[str], clock: DriftingClock) -> None:
    """Takes the key when it is free, holds it by a lease for a while, lets it end."""
    number = 0
    while True:
        number += 1
        try:
            lease = await store.grant(2)
            claim = Put("/c/owner", f"{name}-{number}".encode(), lease.lease)
            won = await store.commit(
                Transaction((Unchanged("/c/owner", 0),), (claim,), guard="/c/owner")
            )
            trace.append(f"{clock.now():.6f} {name} {won.succeeded} {won.revision}")
            for _ in range(5 if won.succeeded else 0):
                await store.keep_alive(lease.lease)
                await clock.sleep(0.5)
            await clock.sleep(1.0)
        except StoreError as error:
            trace.append(f"{clock.now():.6f} {name} {type(error).__name__}")
            await clock.sleep(0.3)


async def onlooker(store: Store, trace: list[str]) -> None:
    async for batch in store.watch("/c/"):
        shown = [(key, kv and kv.value) for key, kv in batch.changes]
        trace.append(f"{batch.revision} {batch.stale_reason} {shown}")


async def scenario(seed: int, trace: list[str]) -> None:
    rng = random.Random(seed)
    state = MemoryState(DriftingClock(), Weather(rng))
    tasks = []
    for name, rate in (("n1", 0.9), ("n2", 1.0), ("n3", 1.1)):
        clock = DriftingClock(rate)
        store = MemoryStore(state, clock, Weather(rng))
        tasks.append(asyncio.ensure_future(contender(store, name, trace, clock)))
        tasks.append(asyncio.ensure_future(onlooker(store, trace)))
    for _ in range(20):
        await asyncio.sleep(15)
        state.compact(state.revision)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await state.close()


def run(seed: int) -> list[str]:
    trace: list[str] = []
    loop = VirtualLoop()
    try:
        loop.run_until_complete(scenario(seed, trace))
    finally:
        loop.close()
    return trace


def test_five_virtual_minutes_are_the_same_for_the_same_seed() -> None:
    first, second, other = run(1), run(1), run(2)
    assert len(first) > 500
    assert first == second
    assert first != other


def test_onlookers_agree_on_what_they_saw() -> None:
    """After every cut, delay and compaction a watch still ends in the true state."""

    async def work() -> None:
        rng = random.Random(3)
        state = MemoryState(DriftingClock())
        seen: dict[int, dict[str, bytes]] = {0: {}, 1: {}}

        async def follow(number: int, store: Store) -> None:
            async for batch in store.watch("/c/"):
                for key, stored in batch.changes:
                    if stored is None:
                        seen[number].pop(key)  # only what was shown can go
                    else:
                        seen[number][key] = stored.value

        tasks = [
            asyncio.ensure_future(follow(number, MemoryStore(state, faults=Weather(rng))))
            for number in seen
        ]
        for step in range(300):
            lease, _ = state.grant(rng.uniform(1, 20))
            key = f"/c/{rng.randrange(10)}"
            state.commit(Transaction((), (Put(key, str(step).encode(), lease),)))
            if step % 7 == 0:
                state.compact(state.revision)
            await asyncio.sleep(rng.random())
        state.commit(Transaction((), (Put("/c/last", b"1"),)))
        await asyncio.sleep(120)
        truth = {item.key: item.value for item in state.list("/c/").items}
        assert seen == {0: truth, 1: truth}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await state.close()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
