"""What a program serves in a lab server ends with the server, whoever waits for it."""

import subprocess
from pathlib import Path

import pytest

from clusterctl.lab import fuse
from reconciler.mirror.fuse import FuseFile
from tests.mirror.pair import usable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=str(usable())),
]
DEADLINE_S = 10


class Silent:
    """Answers nothing."""

    def read(self, token: int, offset: int, length: int) -> None: ...

    def write(self, token: int, offset: int, data: memoryview) -> None: ...

    def flush(self, token: int) -> None: ...


def test_who_waits_for_a_silent_program_gets_an_error_when_it_is_aborted(tmp_path: Path) -> None:
    before = fuse.connections(1)
    served = FuseFile(str(tmp_path / "disk"), 4096, Silent())
    try:
        with subprocess.Popen(["cat", served.path], stderr=subprocess.PIPE) as waits:
            with pytest.raises(subprocess.TimeoutExpired):
                waits.wait(0.3)
            here = fuse.connections(waits.pid)
            assert len(here - before) == 1
            assert fuse.connections(waits.pid, waits.pid) == set()
            fuse.abort(here - before)
            assert waits.wait(DEADLINE_S) != 0
    finally:
        served.close()


def test_connections_that_are_gone_are_fine() -> None:
    assert fuse.connections(2**30) == set()
    fuse.abort({1 << 19})
    fuse.abort(set())
