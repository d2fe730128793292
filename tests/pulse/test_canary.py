"""A canary that gets to run is heard; one that does not is a stall."""

import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from reconciler.pulse.canary import Canary

DEADLINE_S = 20.0


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()


def listen(canary: Canary) -> None:
    assert select.select([canary], [], [], DEADLINE_S)[0]
    canary.hear(time.monotonic())


def test_nothing_is_asked_before_it_is_wanted(canary: Canary) -> None:
    assert not canary.start()
    assert not canary.is_stalled(1e9)


def test_one_that_runs_is_heard(canary: Canary) -> None:
    canary.watch(5.0, 100.0)
    assert canary.start()
    assert select.select([canary], [], [], DEADLINE_S)[0]
    canary.hear(200.0)
    assert not canary.is_stalled(205.0)
    assert canary.is_stalled(205.1)


def test_one_that_is_kept_from_running_is_a_stall(canary: Canary) -> None:
    canary.watch(1.0, time.monotonic())
    canary.start()
    listen(canary)
    os.kill(canary._pid, signal.SIGSTOP)
    deadline = time.monotonic() + DEADLINE_S
    while not canary.is_stalled(time.monotonic()):
        assert time.monotonic() < deadline
        if select.select([canary], [], [], 0.1)[0]:
            canary.hear(time.monotonic())


def test_one_that_ended_is_started_anew_and_counts_as_silent_until_then(canary: Canary) -> None:
    canary.watch(60.0, time.monotonic())
    canary.start()
    os.kill(canary._pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while canary.lives:
        assert time.monotonic() < deadline
        listen(canary)
    assert canary.is_stalled(time.monotonic() + 61)
    assert canary.start()
    listen(canary)
    assert not canary.is_stalled(time.monotonic() + 59)


def test_it_has_normal_priority_and_holds_nothing(canary: Canary) -> None:
    read, write = os.pipe()
    canary.watch(5.0, time.monotonic())
    canary.start()
    listen(canary)
    os.close(write)
    assert select.select([read], [], [], DEADLINE_S)[0], "it holds the other end still"
    os.close(read)
    assert os.sched_getscheduler(canary._pid) == os.SCHED_OTHER
