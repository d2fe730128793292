"""Several addresses of the other side, and being told that it is gone."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mirror.pair import DEADLINE_S, Side, pair, usable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]

BEST, OTHER = "127.0.0.3", "127.0.0.1"


def _listens(side: Side, *addresses: str) -> None:
    side.kill()
    side.settings = replace(side.settings, listen=addresses)
    side.start()


def test_the_best_address_that_answers_is_used_and_another_one_when_it_does_not(
    tmp_path: Path,
) -> None:
    with pair(tmp_path) as (a, b):
        _listens(b, OTHER, BEST)
        a.kill()
        a.settings = replace(a.settings, peers=(BEST, OTHER))
        a.start()
        a.promote()
        assert a.wait(stage="both")["address"] == BEST
        for only in (OTHER, BEST):
            _listens(b, only)
            a.wait(stage="both", connected=True, address=only)


def test_a_write_waits_no_longer_once_the_engine_is_told_that_the_other_side_is_gone(
    tmp_path: Path,
) -> None:
    with pair(tmp_path, timeout_s=600.0) as (a, b):
        a.promote()
        a.wait(stage="both")
        a.attach(make=True)
        done = threading.Event()

        def write() -> None:
            handle = os.open(a.mount / "file", os.O_CREAT | os.O_WRONLY)
            os.write(handle, b"x" * 4096)
            os.fsync(handle)
            os.close(handle)
            done.set()

        assert b.process is not None
        b.process.send_signal(signal.SIGSTOP)
        try:
            threading.Thread(target=write, daemon=True).start()
            assert not done.wait(1.0)
            a.call(do="cut", reason="it is dead")
            assert done.wait(DEADLINE_S)
            assert a.cluster.record is not None
            assert a.cluster.record.servers == ("a",)
        finally:
            b.process.send_signal(signal.SIGCONT)
