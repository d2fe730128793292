"""Two parts of one asynchronous disk, written in turn through two loop devices: when the owner is
killed, the other side has them as of one moment."""

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.linux import loop_device
from specs.volume_layout import layout
from tests.mirror.pair import DEADLINE_S, Side, pair, usable

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]

FIRST, SECOND = layout([("first", 24 << 20), ("second", 40 << 20)])
WRITER = """
import os, struct, sys
first, second = (os.open(path, os.O_RDWR) for path in sys.argv[1:])
number = 0
while True:
    number += 1
    for file in (first, second):
        os.pwrite(file, struct.pack("<Q", number), 0)
        os.fsync(file)
    os.pwrite(1, b"%020d" % number, 0)
"""


@contextlib.contextmanager
def written(side: Side, told: Path) -> Iterator[None]:
    """A program counts in both of them, from some hundreds on."""
    loops = [
        loop_device.attach(side.settings.served, offset=part.offset, size=part.size)
        for part in (FIRST, SECOND)
    ]
    command = [sys.executable, "-S", "-c", WRITER, *(device for device, _ in loops)]
    with told.open("wb") as output:
        writer = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while int(told.read_bytes() or b"0") < 300:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield
    finally:
        writer.kill()
        writer.wait(DEADLINE_S)
        for _, opened in loops:
            os.close(opened)


def test_the_other_side_has_both_as_of_one_moment(tmp_path: Path) -> None:
    with pair(tmp_path, asynchronous=True) as (a, b):
        a.promote()
        a.wait(stage="both")
        with written(a, tmp_path / "told"):
            a.kill()
        b.promote()
        data = b.content()
        first, second = (struct.unpack_from("<Q", data, part.offset)[0] for part in (FIRST, SECOND))
        assert second > 0
        assert second <= first <= second + 1
