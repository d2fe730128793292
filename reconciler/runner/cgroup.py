"""An own cgroup (v2) for one workload, where this server lets us make one.

Also on a machine whose v2 hierarchy is mounted beside v1 ones. Without a writable hierarchy all
functions say so, and `tree.py` finds the processes by other marks.
"""

import os
from contextlib import suppress


def own_directory() -> str | None:
    """The directory of this process's own v2 cgroup, or None."""
    path = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    if path is None or path.startswith("/.."):
        return None
    for line in _lines("/proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] != "cgroup2":
            continue
        root, mount_point = fields.split(" ")[3:5]
        if root != "/" and not (path + "/").startswith(root + "/"):
            continue
        below = path if root == "/" else path[len(root) :]
        directory = os.path.normpath(mount_point + "/" + below)
        if os.access(os.path.join(directory, "cgroup.procs"), os.W_OK):
            return directory
    return None


def create(name: str) -> str | None:
    """A new cgroup below our own; None when this server does not allow it."""
    parent = own_directory()
    if parent is None:
        return None
    directory = os.path.join(parent, name)
    try:
        os.mkdir(directory, 0o755)
    except OSError:
        return None
    return directory


def enter(directory: str) -> None:
    """Move this process in. Raises OSError."""
    with open(os.path.join(directory, "cgroup.procs"), "w") as file:
        file.write("0")


def members(directory: str) -> set[int]:
    """Processes in the cgroup and below; empty when it is gone. Raises OSError when unreadable."""
    found: set[int] = set()
    for place, _, _ in os.walk(directory):
        with suppress(FileNotFoundError), open(os.path.join(place, "cgroup.procs")) as file:
            found.update(int(line) for line in file)
    return found - {0}


def kill(directory: str) -> bool:
    """Kill everything inside at once; False when this kernel can't."""
    try:
        with open(os.path.join(directory, "cgroup.kill"), "w") as file:
            file.write("1")
    except OSError:
        return False
    return True


def remove(directory: str) -> None:
    """Remove the empty cgroup and what the workload made below it; a used one stays."""
    for place, _, _ in os.walk(directory, topdown=False):
        with suppress(OSError):
            os.rmdir(place)


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []
