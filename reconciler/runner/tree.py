"""All processes of a workload, also those that left its session or lost their runner.

The holder is the subreaper of its workload, so its tree is everything below it. When the holder is
dead, the cgroup, the session and a mark in the environment still tell.
"""

import os
import signal
import time

from reconciler.runner import cgroup
from reconciler.runner.record import TOKEN_VARIABLE, Process, Record, identify, stat_fields

KILL_LIMIT_S = 5.0
_PAUSE_S = 0.005
_EMPTY_SCANS = 3  # a process in the middle of an exec shows no environment for a moment


def below(ancestor: int) -> set[int]:
    """Every live descendant of a process."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        fields = stat_fields(pid)
        if fields is not None and fields[0] not in ("Z", "X"):
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def strays(record: Record) -> set[int]:
    """What is left of a workload whose runner is gone. Raises OSError when that can't be known."""
    found = cgroup.members(record.cgroup) if record.cgroup else set()
    mark = f"{TOKEN_VARIABLE}={record.token}".encode()
    for pid in _all_pids():
        if pid in found or identify(pid) is None or pid == record.holder.pid:
            continue
        if _in_session_of(pid, record.main) or mark in _environment(pid):
            found.add(pid)
    return {pid for pid in found if identify(pid) is not None}


def kill_strays(record: Record, limit_s: float = KILL_LIMIT_S) -> set[int]:
    """Kill what is left, again and again until nothing is; returns what did not go in time."""
    deadline = time.monotonic() + limit_s
    empty_scans = 0
    while empty_scans < _EMPTY_SCANS:
        left = strays(record)
        empty_scans = 0 if left else empty_scans + 1
        if left and time.monotonic() > deadline:
            return left
        if record.cgroup:
            cgroup.kill(record.cgroup)
        signal_all(left, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    return set()


def signal_all(pids: set[int], number: int) -> None:
    """Signal processes that may be gone already."""
    for pid in sorted(pids):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _in_session_of(pid: int, main: Process | None) -> bool:
    """A session keeps its number while any process is in it: it can't have been reused. A new
    leader with the old number is told by its own start time."""
    if main is None:
        return False
    fields = stat_fields(pid)
    if fields is None or int(fields[3]) != main.pid:
        return False
    leader = identify(main.pid)
    return leader is None or leader == main


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
