"""A mirror that grows while it is used, interrupted at each step: real engines, real loop devices.

The agents' part (who is asked when) is in `test_growing_disk` and in the lab.
"""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.adapters.linux import loop_device
from tests.mirror.pair import DEADLINE_S, Side, pair, run, usable
from tests.mirror.test_engine import Counter, _stored

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]

OLD, NEW = 64 << 20, 96 << 20
BLOCK = 4096


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    with pair(tmp_path, size=OLD) as found:
        found[0].promote()
        found[0].wait(stage="both")
        yield found


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def grow(side: Side) -> None:
    done = side.call(do="grow", size=NEW)
    assert done.get("size") == NEW, done


def grow_both(owner: Side, standby: Side) -> None:
    grow(standby)
    owner.wait(peer_size=NEW)
    grow(owner)


def write_at_the_end(side: Side, text: bytes) -> None:
    """Through the loop device that is mounted, behind its file system."""
    assert loop_device.grow(side.loop, side.settings.served) == NEW
    fd = os.open(side.loop, os.O_RDWR)
    try:
        os.pwrite(fd, text.ljust(BLOCK, b"."), NEW - BLOCK)
        os.fsync(fd)
    finally:
        os.close(fd)


def end_of(side: Side) -> bytes:
    with Path(side.settings.served).open("rb") as file:
        return os.pread(file.fileno(), BLOCK, NEW - BLOCK).rstrip(b".")


def equal(one: Side, other: Side) -> None:
    one.wait(stage="both", suspended=False)
    assert one.call(do="verify")["ok"]
    eventually(lambda: bool(one.status()["verify"]["ended"]), "both are compared")
    found = one.status()["verify"]
    assert (found["ended"], found["different"], found["done"]) == ("done", [], NEW)
    assert other.status()["size"] == NEW


def test_it_grows_under_a_writer_and_what_is_behind_the_old_end_survives_the_owner(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.attach(make=True)
    counter = Counter(a)
    counter.wait(20)
    refused = a.call(do="grow", size=NEW)
    assert "the other side has 67108864 bytes, it must grow first" in refused["error"]
    assert "cannot shrink" in a.call(do="grow", size=OLD // 2)["error"]
    grow_both(a, b)
    a.wait(stage="both", suspended=False)
    counter.wait(40)
    write_at_the_end(a, b"late")
    a.kill()
    acknowledged = counter.end()
    b.promote()
    assert end_of(b) == b"late"
    b.attach()
    assert _stored(b) >= acknowledged
    a.start()
    equal(b, a)


@pytest.mark.long
def test_a_standby_that_has_grown_alone_takes_over_and_the_old_owner_grows_as_it_follows(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.attach(make=True)
    grow(b)
    a.kill()
    b.promote()
    b.attach()
    write_at_the_end(b, b"new")
    a.start()
    b.wait(stage="both", suspended=False)
    assert a.status()["size"] == NEW
    equal(b, a)
    b.kill()
    a.promote()
    assert end_of(a) == b"new"


@pytest.mark.long
def test_an_old_owner_may_follow_and_lead_a_standby_that_is_larger(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    grow(b)
    a.call(do="cut")
    a.wait(stage="both", peer_size=NEW)
    assert a.status()["size"] == OLD
    grow(a)
    equal(a, b)


@pytest.mark.long
def test_an_owner_that_dies_after_its_own_growth_is_followed_by_one_of_the_same_size(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.attach(make=True)
    counter = Counter(a)
    counter.wait(20)
    grow(b)
    a.wait(peer_size=NEW)
    a.cluster.available = False  # nobody is told that it is alone
    grow(a)
    a.kill()
    a.cluster.available = True
    acknowledged = counter.end()
    assert b.why_not() is None
    b.promote()
    b.attach()
    assert _stored(b) >= acknowledged
    write_at_the_end(b, b"after")
    a.start()
    equal(b, a)


@pytest.mark.long
def test_a_standby_that_was_away_grows_before_it_follows(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.attach(make=True)
    b.kill()
    a.wait(stage="alone", suspended=False)
    grow(a)
    write_at_the_end(a, b"alone")
    b.start()
    a.wait(stage="both", suspended=False)
    assert b.status()["size"] == NEW
    equal(a, b)
    a.kill()
    b.promote()
    assert end_of(b) == b"alone"


@pytest.mark.long
def test_nothing_grows_while_the_store_is_waited_for(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.cluster.available = False
    b.kill()
    a.wait(suspended=True)
    assert "waits for the store" in a.call(do="grow", size=NEW)["error"]
    a.cluster.available = True
    a.wait(suspended=False)
    grow(a)


@contextmanager
def devices(directory: Path, *sizes: int) -> Iterator[tuple[str, ...]]:
    """Full of what somebody left there."""
    found = []
    try:
        for number, size in enumerate(sizes):
            file = directory / f"device{number}"
            file.write_bytes(os.urandom(size))
            found.append(run("losetup", "-f", "--show", str(file)).strip())
        yield tuple(found)
    finally:
        for device in found:
            subprocess.run(["losetup", "-d", device], check=False, timeout=DEADLINE_S)


@pytest.mark.long
@pytest.mark.parametrize("dies", ["nobody", "owner", "standby"])
def test_what_devices_had_behind_the_old_end_is_equal_afterwards(tmp_path: Path, dies: str) -> None:
    with (
        devices(tmp_path, NEW, NEW) as (one, two),
        pair(tmp_path, size=OLD, devices=(one, two)) as (a, b),
    ):
        a.promote()
        a.wait(stage="both", suspended=False)
        assert a.status()["room"] == NEW
        a.call(do="limit", bytes=8 << 20)  # so that it dies in the middle
        grow_both(a, b)
        if dies == "owner":
            a.wait(stage="alone", connected=True)
            a.kill()
            assert "unfinished target" in str(b.why_not())
            a.start()
            a.promote()
        elif dies == "standby":
            a.wait(stage="alone", connected=True)
            b.kill()
            b.start()
        a.call(do="limit", bytes=0)
        equal(a, b)


@pytest.mark.long
def test_a_device_that_is_too_small_is_not_followed_on_and_says_so(tmp_path: Path) -> None:
    with (
        devices(tmp_path, NEW, OLD) as (one, two),
        pair(tmp_path, size=OLD, devices=(one, two)) as (a, b),
    ):
        a.promote()
        a.wait(stage="both", suspended=False)
        assert "67108864 bytes, 100663296 are needed" in b.call(do="grow", size=NEW)["error"]
        assert b.status()["size"] == OLD
        b.kill()
        a.wait(stage="alone", suspended=False)
        grow(a)
        b.start()
        eventually(lambda: "cannot have 100663296 bytes" in a.status()["problem"], "it is told")
        assert "only a has all" in str(b.why_not())


def hurried(*steps: Callable[[], object]) -> threading.Thread:
    """One after the other beside the test, as far as it gets: an engine may die meanwhile."""

    def work() -> None:
        with suppress(OSError, ValueError, AssertionError, KeyError):
            for step in steps:
                step()

    found = threading.Thread(target=work, daemon=True)
    found.start()
    return found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(int(os.environ.get("GROWTH_SEEDS", "4"))))
def test_either_side_is_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with pair(tmp_path, size=OLD, timeout_s=1.0) as (a, b):
        a.promote()
        a.wait(stage="both", suspended=False)
        a.attach(make=True)
        counter = Counter(a)
        counter.wait(20)
        growing = hurried(lambda: grow(b), lambda: a.wait(peer_size=NEW), lambda: grow(a))
        time.sleep(rng.uniform(0.0, 0.8))  # the moment is what is tried here
        victim = rng.choice((a, b))
        victim.kill()
        growing.join(DEADLINE_S)
        owner, standby = a, b
        if victim is a:
            acknowledged = counter.end()
            if b.why_not() is None:
                owner, standby = b, a
            a.start()
            owner.promote()
            owner.attach()
            assert _stored(owner) >= acknowledged
        else:
            b.start()
        owner.wait(stage="both", suspended=False)
        grow(standby)
        eventually(lambda: owner.status()["peer_size"] == NEW, "it is told")
        grow(owner)
        owner.wait(stage="both", suspended=False)
        write_at_the_end(owner, b"end")
        equal(owner, standby)
        if victim is b:
            acknowledged = counter.end()
            a.kill()
            b.promote()
            assert end_of(b) == b"end"
            b.attach()
            assert _stored(b) >= acknowledged
