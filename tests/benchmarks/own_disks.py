"""Disks of their own for the servers of a benchmark, although this machine has one for all.

Each is a loop device that writes at most `RATE`, so little that the real disk carries two
at once: what a mirror costs shows then, not that one disk has to take everything twice.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mirror.pair import run

RATE = 400 << 20
"""Bytes a second that are written to one disk."""

_LIMITS = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


def possible() -> bool:
    """Whether this kernel limits devices for all programs (cgroup v1)."""
    return os.access(_LIMITS, os.W_OK)


@contextmanager
def disk(image: Path, size: int) -> Iterator[str]:
    """The device; its bytes are in `image`. Needs root; raises `RuntimeError`, `OSError`."""
    image.touch()
    os.truncate(image, size)
    device = run("losetup", "-f", "--show", "--direct-io=on", str(image)).strip()
    try:
        numbers = Path(f"/sys/block/{Path(device).name}/dev").read_text().strip()
        _LIMITS.write_text(f"{numbers} {RATE}")
        try:
            yield device
        finally:
            _LIMITS.write_text(f"{numbers} 0")
    finally:
        run("losetup", "-d", device)
