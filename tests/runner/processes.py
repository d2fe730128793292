"""What tests need to know of real processes: wait for a condition, find them by a mark."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.runner.record import identify

DEADLINE_S = 15.0


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fails with its description at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.01)


def marked(mark: str) -> set[int]:
    """Live processes whose environment holds the text."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or identify(int(entry.name)) is None:
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found
