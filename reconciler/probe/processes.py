"""Counts running processes whose command line matches a pattern."""

import os
import re
from collections.abc import Mapping
from typing import Any

from reconciler.probe.answer import Answer, bad, good

COMMAND_LIMIT = 4096
"""Bytes of a command line that a pattern is searched in: a bound for its time."""


async def probe(settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """Settings: pattern (searched in the command line), minimum, user_ids (None: all)."""
    del timeout_s
    pattern = re.compile(str(settings["pattern"]))
    minimum = int(settings.get("minimum", 1))
    found = sorted(pid for pid in _pids() if pattern.search(_command(pid)))
    if len(found) >= minimum:
        return good(f"{len(found)} found: {', '.join(map(str, found[:5]))}")
    return bad(f"{len(found)} found, {minimum} wanted")


def _pids() -> list[int]:
    own = {os.getpid(), os.getppid()}
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if pid not in own]


def _command(pid: int) -> str:
    """Empty for a kernel thread, a zombie, and a process that is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return (
                file.read(COMMAND_LIMIT).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            )
    except OSError:
        return ""
