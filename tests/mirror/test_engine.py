"""Two real engines on /dev/fuse and loop devices, with ext4 on top."""

import contextlib
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mirror.pair import DEADLINE_S, Side, pair, usable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]

COUNTER = """
import os, struct, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
n = 0
while True:
    n += 1
    os.pwrite(fd, struct.pack("<Q", n), 8 * (n % 4096))
    os.fsync(fd)
    os.pwrite(1, b"%020d" % n, 0)
"""


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    with pair(tmp_path) as found:
        yield found


class Counter:
    """A program that writes and fsyncs a growing number, and tells after each that it is there."""

    def __init__(self, side: Side) -> None:
        self._told = Path(side.settings.directory) / "told"
        command = [sys.executable, "-c", COUNTER, str(side.mount / "counter")]
        with self._told.open("wb") as told:
            self._process = subprocess.Popen(command, stdout=told, stderr=subprocess.DEVNULL)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self._acknowledged() < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _acknowledged(self) -> int:
        return int(self._told.read_bytes() or b"0")

    def end(self) -> int:
        """The last number that was acknowledged."""
        self._process.kill()
        self._process.wait(DEADLINE_S)
        return self._acknowledged()


def _stored(side: Side) -> int:
    data = (side.mount / "counter").read_bytes()
    return max(number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]))


def _fsynced(side: Side, name: str, data: bytes) -> None:
    with (side.mount / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _compared(side: Side) -> list[int]:
    """Where both sides differ, while the disk is in use."""
    assert side.call(do="verify")["ok"]
    deadline = time.monotonic() + DEADLINE_S
    while not (found := side.status()["verify"])["ended"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found["ended"] == "done"
    different: list[int] = found["different"]
    return different


def test_every_acknowledged_row_is_there_after_the_primary_died_and_it_may_take_over_again(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    a.attach(make=True)
    for first, second in ((a, b), (b, a)):
        counter = Counter(first)
        counter.wait(100)
        first.kill()
        acknowledged = counter.end()
        second.promote()
        second.attach()
        assert _stored(second) >= acknowledged
        first.start()
        second.wait(stage="both")
        os.sync()
        assert a.content() == b.content()
        (second.mount / "counter").unlink()


@pytest.mark.long
def test_a_dead_standby_is_left_behind_and_gets_the_difference_only(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    a.attach(make=True)
    b.kill()
    _fsynced(a, "alone", os.urandom(4 << 20))
    assert a.cluster.record is not None
    assert a.cluster.record.servers == ("a",)
    b.start()
    assert "only a" in str(b.why_not())
    status = a.wait(stage="both")
    assert 4 << 20 <= status["copied"] < 40 << 20
    assert b.why_not() is None
    os.sync()
    assert a.content() == b.content()
    assert _compared(a) == []
    with Path(b.settings.data).open("r+b") as data:
        data.seek(9 << 20)
        data.write(b"rot")
    assert _compared(a) == [9 << 20]
    a.call(do="resync")
    a.wait(stage="both", suspended=False)
    assert _compared(a) == []


def test_nothing_is_acknowledged_alone_before_the_record_says_so(
    sides: tuple[Side, Side],
) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    a.attach(make=True)
    a.cluster.available = False
    counter = Counter(a)
    counter.wait(5)
    b.kill()
    a.wait(suspended=True)
    # the store is back, but somebody else owns the group: a is deposed and b has every row
    a.cluster.owner, a.cluster.epoch = "b", a.cluster.epoch + 1
    a.cluster.available = True
    a.wait(over="b owns the group at epoch 2")
    acknowledged = counter.end()
    b.start()
    assert b.why_not() is None
    a.kill()
    b.promote()
    b.attach()
    assert _stored(b) >= acknowledged


def test_an_old_epoch_is_refused_and_deposed_when_it_comes_back(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    b.promote()  # as if a fence had lied: a runs on
    b.wait(stage="alone")
    a.wait(over="b owns the group at epoch 2")
    with (
        pytest.raises(OSError, match="Input/output error"),
        Path(a.settings.served).open("rb") as file,
    ):
        file.read(4096)
    assert a.call(do="stop")["clean"] is False
    b.wait(stage="both")
    assert a.why_not() is None


@pytest.mark.long
def test_a_stranger_with_another_key_is_refused(tmp_path: Path) -> None:
    with pair(tmp_path) as (a, b):
        b.kill()
        (tmp_path / "other").write_text("strange\n")
        b.settings = replace(b.settings, key_file=str(tmp_path / "other"))
        b.start()
        a.promote()
        deadline = time.monotonic() + DEADLINE_S
        while "closed the connection" not in a.status()["problem"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "mirror's key" in (Path(b.settings.directory) / "engine.log").read_text()
        assert b.status()["header"]["fresh"]


@pytest.mark.long
def test_a_planned_move_copies_next_to_nothing(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    a.attach(make=True)
    _fsynced(a, "file", b"kept")
    a.detach()
    assert a.call(do="stop")["clean"]
    b.promote()
    b.attach()
    assert (b.mount / "file").read_bytes() == b"kept"
    assert b.wait(stage="both")["copied"] < 4 << 20


@pytest.mark.long
def test_split_brain_waits_for_an_operator(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.promote()
    a.wait(stage="both")
    b.kill()
    a.wait(stage="alone")
    a.kill()
    a.cluster.record = None  # an operator who accepts to lose data
    b.start()
    with contextlib.suppress(PermissionError):
        b.promote()
    pytest.MonkeyPatch().setattr(b, "why_not", lambda: None)
    b.promote()
    b.wait(stage="alone")
    a.start()
    b.wait(verdict="split-brain")
    assert not a.call(do="discard", confirm="md?")["ok"]
    assert a.call(do="discard", confirm="md")["ok"]
    b.wait(stage="both")


@pytest.mark.long
def test_an_asynchronous_standby_is_a_prefix_and_a_full_queue_leaves_it_behind(
    tmp_path: Path,
) -> None:
    with pair(tmp_path, asynchronous=True, queue_limit=1 << 20) as (a, b):
        a.promote()
        a.wait(stage="both")
        a.attach(make=True)
        counter = Counter(a)
        counter.wait(100)
        a.kill()
        acknowledged = counter.end()
        b.promote()
        b.attach()
        assert 0 < _stored(b) <= acknowledged + 1
        a.start()
        b.wait(stage="both")
        assert a.process is not None
        os.kill(a.process.pid, 19)
        try:
            _fsynced(b, "much", os.urandom(24 << 20))
            b.wait(stage="alone")
            assert b.cluster.record is not None
            assert b.cluster.record.servers == ("b",)
        finally:
            os.kill(a.process.pid, 18)
        b.wait(stage="both")
        assert _compared(b) == []


@pytest.mark.long
def test_a_silent_peer_costs_one_timeout(tmp_path: Path) -> None:
    with pair(tmp_path, timeout_s=0.5) as (a, b):
        a.promote()
        a.wait(stage="both")
        a.attach(make=True)
        assert b.process is not None
        os.kill(b.process.pid, 19)
        try:
            _fsynced(a, "first", b"x")
            assert a.status()["stage"] == "alone"
        finally:
            os.kill(b.process.pid, 18)
        log = (Path(a.settings.directory) / "engine.log").read_text()
        assert re.search(r"mirror_peer_lost reason='the other side is silent", log)
        a.wait(stage="both")


@pytest.mark.long
def test_a_short_timeout_separates_no_idle_sides(tmp_path: Path) -> None:
    with pair(tmp_path, timeout_s=1.2) as (a, b):
        a.promote()
        b.wait(connected=True)
        a.wait(stage="both")
        told = Path(a.settings.directory) / "engine.log"
        time.sleep(4.0)  # nothing happens, for several times the timeout
        assert "silent" not in told.read_text()
