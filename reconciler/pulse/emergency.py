"""End what this server runs, at once and without the agent. `process` calls it when the dead-man
fires; the agent registers beforehand what there is to end.

Entries (JSON objects in the list of `register-kill`):

    {"kind": "cgroup", "path": "/sys/fs/cgroup/.../cgroup.kill"}
    {"kind": "pid", "pid": 123, "start_time": 4567}      start_time: field 22 of /proc/PID/stat
    {"kind": "address", "address": "10.77.2.100/24", "interface": "eth1"}

An entry may carry `"policy": "stop"` (see `deadman`; without it: `keep`).
A pid is ended with everything below it; one whose start time differs is somebody else's by now.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from reconciler.pulse.rtnetlink import delete_address

_ROUNDS = 20  # bound for families that fork while they are being killed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry; `error` is empty when it is surely ended (or was not there)."""

    entry: str
    error: str = ""


def check_entry(entry: Mapping[str, Any]) -> None:
    """Raises `ValueError` for an entry that could not be ended later."""
    wanted: dict[str, tuple[tuple[str, type], ...]] = {
        "cgroup": (("path", str),),
        "pid": (("pid", int), ("start_time", int)),
        "address": (("address", str), ("interface", str)),
    }
    fields = wanted.get(str(entry.get("kind")))
    known = entry.get("policy", "keep") in ("keep", "stop")
    if (
        fields is None
        or not known
        or any(not isinstance(entry.get(name), kind) for name, kind in fields)
    ):
        raise ValueError(f"not an entry of the kill list: {dict(entry)}")


def end_all(entries: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """End every entry; one failure never keeps the others alive. Addresses go first: they are
    what clients reach, and they are quickest."""
    ordered = sorted(entries, key=lambda entry: entry["kind"] != "address")
    return [_end(entry) for entry in ordered]


def is_over(entry: Mapping[str, Any]) -> bool:
    """Seen ended: no process of it is left, the address is gone. False when that is not known."""
    try:
        if entry["kind"] == "address":
            delete_address(entry["address"], entry["interface"])
            return True
        if entry["kind"] == "cgroup":
            return _is_empty(entry["path"].removesuffix("/cgroup.kill"))
        return _start_time(entry["pid"]) != entry["start_time"] or _stat(entry["pid"])[0] in "ZX"
    except (OSError, ValueError, IndexError):
        return False


def _is_empty(folder: str) -> bool:
    if not os.path.isdir(folder):
        return True
    try:
        with open(f"{folder}/cgroup.events", encoding="ascii") as events:
            return "populated 0" in events.read()
    except FileNotFoundError:
        with open(f"{folder}/cgroup.procs", encoding="ascii") as members:
            return not members.read().strip()


def _end(entry: Mapping[str, Any]) -> Outcome:
    kind = entry["kind"]
    try:
        if kind == "address":
            delete_address(entry["address"], entry["interface"])
            return Outcome(f"address {entry['address']} on {entry['interface']}")
        if kind == "cgroup":
            _end_cgroup(entry["path"])
            return Outcome(f"cgroup {entry['path']}")
        _end_process(entry["pid"], entry["start_time"])
        return Outcome(f"pid {entry['pid']}")
    except (OSError, ValueError) as error:
        return Outcome(f"{kind} {entry.get('path') or entry.get('pid') or ''}".strip(), str(error))


def _end_cgroup(path: str) -> None:
    folder = path.removesuffix("/cgroup.kill")
    if not os.path.isdir(folder):
        return
    with suppress(FileNotFoundError):  # kernels before 5.14 and version 1 hierarchies lack the file
        descriptor = os.open(f"{folder}/cgroup.kill", os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
        return
    for _ in range(_ROUNDS):
        with open(f"{folder}/cgroup.procs", encoding="ascii") as members:
            pids = [int(line) for line in members]
        if not pids:
            return
        for pid in pids:
            _kill(pid)
    raise OSError(f"processes of {folder} keep coming back")


def _end_process(pid: int, start_time: int) -> None:
    if _start_time(pid) != start_time:
        return
    # Stopped first, so that it cannot start anything new; killed last, so that its orphans stay
    # below it (a runner adopts them) and are found.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        family = list(_descendants(pid))
        if not family:
            break
        for child in family:
            _kill(child)
    if _start_time(pid) == start_time:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _start_time(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _descendants(root: int) -> Iterator[int]:
    """Living processes below `root`, zombies not counted."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if len(fields) > 1 and fields[0] not in "ZX":
                parents[int(name)] = int(fields[1])
    below = {root}
    grew = True
    while grew:
        found = {pid for pid, parent in parents.items() if parent in below} - below
        below |= found
        grew = bool(found)
    yield from below - {root}
