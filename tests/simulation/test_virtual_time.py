"""The simulator's own promises: time jumps, seeds replay, servers stand still and die."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.chaos import run_seed
from tests.simulation.virtual_time import SimClock, SimHandle, SimLoop

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def loop() -> Any:
    loop = SimLoop(1)
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def test_asyncio_still_has_what_the_loop_replaces(loop: SimLoop) -> None:
    for name in ("_ready", "_stopping"):
        assert hasattr(loop, name)
    for name in ("_run_once", "call_soon", "call_later", "call_at"):
        assert getattr(asyncio.BaseEventLoop, name) is not getattr(SimLoop, name)
    offered = {name for name in dir(asyncio.TimerHandle) if not name.startswith("_")}
    assert offered - set(dir(SimHandle)) == {"when"}  # asked for by nothing that runs here


def test_a_cancelled_timer_is_forgotten_once(loop: SimLoop) -> None:
    handle = loop.call_later(1, print)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert loop.cancelled_timers == 1
    late = loop.call_later(2, int)
    loop.run_until_complete(asyncio.sleep(3))
    late.cancel()
    assert loop.cancelled_timers == 0


def test_hours_pass_at_once(loop: SimLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3600 * 24 * 365))
    assert loop.now == 3600 * 24 * 365


def test_waiting_for_what_nobody_ends_is_a_deadlock(loop: SimLoop) -> None:
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(asyncio.Event().wait())


def test_cancelled_timers_are_forgotten(loop: SimLoop) -> None:
    for _ in range(10_000):
        loop.call_later(1000, print).cancel()
    loop.run_until_complete(asyncio.sleep(1))
    assert loop.now == 1
    assert len(loop._timers) < 100


def test_the_order_of_what_is_ready_comes_from_the_seed() -> None:
    def order(seed: int) -> list[int]:
        loop, found = SimLoop(seed), []
        for number in range(20):
            loop.call_soon(found.append, number)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        return found

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == list(range(20))


async def _tick(loop: SimLoop, found: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        found.append(loop.now)


def _beside(loop: SimLoop, work: Coroutine[Any, Any, Any]) -> list[float]:
    """What a task of n1 did while `work` ran."""
    found: list[float] = []
    loop.spawn("n1#1", _tick(loop, found))
    loop.run_until_complete(work)
    return found


def test_a_paused_incarnation_stands_still_while_time_goes_on(loop: SimLoop) -> None:
    async def work() -> None:
        await asyncio.sleep(2.5)
        loop.paused.add("n1#1")
        await asyncio.sleep(10)
        loop.resume("n1#1")
        await asyncio.sleep(1.5)

    # What was due while it stood still happens late, at once, and only once.
    assert _beside(loop, work()) == [1, 2, 12.5, 13.5]


def test_a_killed_incarnation_never_runs_again_not_even_its_clean_up(loop: SimLoop) -> None:
    cleaned: list[str] = []

    async def holder() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append("clean")

    async def work() -> None:
        loop.spawn("n1#1", holder())
        await asyncio.sleep(2.5)
        loop.kill("n1#1")
        await asyncio.sleep(2000)
        assert not cleaned

    assert _beside(loop, work()) == [1, 2]


def test_children_belong_to_their_parents_incarnation(loop: SimLoop) -> None:
    found: list[float] = []

    async def parent() -> None:
        await asyncio.create_task(_tick(loop, found))

    async def work() -> None:
        loop.spawn("n1#1", parent())
        await asyncio.sleep(1.5)
        loop.kill("n1#1")
        await asyncio.sleep(5)

    loop.run_until_complete(work())
    assert found == [1]


def test_clocks_of_servers_drift(loop: SimLoop) -> None:
    fast = SimClock(loop, rate=1.1, offset=100)
    loop.run_until_complete(fast.sleep(11))
    assert loop.now == pytest.approx(10)
    assert fast.now() == pytest.approx(111)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    first = run_seed(7)
    assert first.trace == run_seed(7).trace
    assert first.trace != run_seed(8).trace


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    """Sets and dictionaries in an unlucky place would show here."""
    script = (
        "import hashlib; from tests.simulation.chaos import run_seed; "
        "print(hashlib.sha256('\\n'.join(run_seed(7).trace).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
