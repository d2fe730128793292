"""What operators may ask of real engines: copy by checksums, stop with a tail, accept, isolate."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.mirror.decide.promotion import Current
from tests.mirror.pair import DEADLINE_S, Side, pair, usable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    with pair(tmp_path) as found:
        yield found


def _fsynced(side: Side, name: str, data: bytes) -> None:
    with (side.mount / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _in_sync(a: Side) -> None:
    a.promote()
    a.wait(stage="both")
    a.attach(make=True)


def _checked(side: Side, number: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := side.status().get("verify", {})) or not found["ended"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (found["id"], found["ended"]) == (number, "done")


@pytest.mark.long
def test_a_resync_by_checksums_copies_what_differs_only(sides: tuple[Side, Side]) -> None:
    a, b = sides
    _in_sync(a)
    with Path(b.settings.data).open("r+b") as data:
        data.seek(9 << 20)
        data.write(b"rot")
    assert a.call(do="resync", how="checksum", id="one")["ok"]
    _checked(a, "one")
    status = a.wait(stage="both", suspended=False)
    assert 0 < status["copied"] < 8 << 20
    os.sync()
    assert a.content() == b.content()


@pytest.mark.long
def test_an_asynchronous_stop_says_whether_the_other_side_has_everything(tmp_path: Path) -> None:
    with pair(tmp_path, asynchronous=True, timeout_s=20.0) as (a, b):
        _in_sync(a)
        assert b.process is not None
        os.kill(b.process.pid, signal.SIGSTOP)
        try:
            _fsynced(a, "tail", os.urandom(1 << 20))
            a.detach()
            assert a.call(do="stop", limit=0.2)["handed_over"] is False
        finally:
            os.kill(b.process.pid, signal.SIGCONT)
        record = a.cluster.record
        assert record is not None
        # what the driver does before it lets the group go
        a.cluster.record = Current(("a",), a.status()["header"]["current"], record.epoch)
        assert "only a" in str(b.why_not())
        a.promote()
        a.wait(stage="both")
        a.attach()
        _fsynced(a, "more", os.urandom(1 << 20))
        a.detach()
        assert a.call(do="stop", limit=20)["handed_over"] is True
        assert b.why_not() is None
        os.sync()
        assert a.content() == b.content()


@pytest.mark.long
def test_a_standby_that_lost_power_serves_after_an_operator_accepted_it(tmp_path: Path) -> None:
    with pair(tmp_path, asynchronous=True) as (a, b):
        _in_sync(a)
        _fsynced(a, "file", b"kept")
        a.kill()
        b.kill()
        b.settings = replace(b.settings, boot="another")
        b.start()
        assert "lost power" in str(b.why_not())
        assert not b.call(do="accept", confirm="md?")["ok"]
        generation = b.call(do="accept", confirm="md", who="alice")["generation"]
        assert b.cluster.record is not None
        assert generation == b.cluster.record.generation
        assert b.why_not() is None
        b.promote()
        b.attach()
        a.start()
        b.wait(stage="both")
        os.sync()
        assert a.content() == b.content()


@pytest.mark.long
def test_an_isolated_side_stands_still_until_it_rejoins(sides: tuple[Side, Side]) -> None:
    a, b = sides
    _in_sync(a)
    assert not a.call(do="isolate", seconds=60)["ok"]
    assert b.call(do="isolate", seconds=60)["ok"]
    a.wait(stage="alone")
    before = b.content()
    _fsynced(a, "file", os.urandom(1 << 20))
    assert "isolated" in str(b.why_not())
    assert b.content() == before
    b.kill()  # the next engine knows how long it is to last
    b.start()
    assert b.content() == before
    assert "isolated" in str(b.why_not())
    assert b.call(do="rejoin")["ok"]
    assert a.call(do="resync", how="difference")["ok"]
    assert a.wait(stage="both", suspended=False)["copied"] < 16 << 20
    assert b.call(do="isolate", seconds=0.2)["ok"]
    b.wait(connected=False)
    b.wait(connected=True)  # the time is over: it rejoins by itself
    a.wait(stage="both")
