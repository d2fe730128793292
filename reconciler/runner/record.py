"""What a runner writes down about itself, and who a process is beyond its number.

Written by the holder, read by the agent (`adapters.linux.runners`), also by one that came later.
"""

import json
import os
from dataclasses import asdict, dataclass

RECORD = "runner.json"
SOCKET = "socket"
LOCK = "lock"
LOG = "output.log"

STARTING, RUNNING, STOPPING, EXITED = "starting", "running", "stopping", "exited"
TOKEN_VARIABLE = "CLUSTERCTL_RUNNER"  # noqa: S105 - a mark in the environment, not a secret


@dataclass(frozen=True)
class Process:
    """A process id is reused; with its start time (field 22 of /proc/<pid>/stat) it is not."""

    pid: int
    start: int


@dataclass(frozen=True)
class Record:
    """One workload. `exit_code` is negative for a signal. `token` marks its environment."""

    name: str
    epoch: int
    state: str
    token: str
    holder: Process
    main: Process | None = None
    exit_code: int | None = None
    cgroup: str | None = None
    started_wall: float | None = None
    schema: int = 1


def read(directory: str) -> Record | None:
    """The record in a runner's directory; None without one. Raises ValueError for nonsense."""
    try:
        with open(os.path.join(directory, RECORD)) as file:
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content["holder"] = Process(**content["holder"])
        content["main"] = Process(**content["main"]) if content["main"] else None
        return Record(**content)
    except (TypeError, KeyError) as error:
        raise ValueError(f"unreadable runner record: {error}") from error


def write(directory: str, record: Record) -> None:
    """Replace the record in one step, mode 0600."""
    temporary = os.path.join(directory, f".{RECORD}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(record), file)
    os.replace(temporary, os.path.join(directory, RECORD))


def identify(pid: int) -> Process | None:
    """The live process with this number; None when there is none, or only a zombie."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return Process(pid, int(fields[19]))


def is_alive(process: Process | None) -> bool:
    return process is not None and identify(process.pid) == process


def stat_fields(pid: int) -> list[str] | None:
    """/proc/<pid>/stat from field 3 (state) on: [1] parent, [3] session, [19] start time."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
