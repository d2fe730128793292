"""FUSE connections of a lab's servers, ended with their server. Called by power.py and down.py.
Standard library only.

A program that serves a file, as a mirror's engine does, may be the last process of its mount
namespace. Then its own end unmounts what lies on that file, the kernel flushes it to the program,
and both wait for each other for ever; so does every `sync` of this machine.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from clusterctl.lab import kernel

_CONTROL = Path("/sys/fs/fuse/connections")


def connections(pid: int, outside: int = 0) -> set[int]:
    """Numbers of those in the mount namespace of a process that the one of the process `outside`
    does not have. Empty when `pid` is gone."""
    mine = _numbers(pid)
    return mine - _numbers(outside) if mine and outside else mine


def _numbers(pid: int) -> set[int]:
    found = set()
    with suppress(OSError):  # it has ended: its mounts go, too
        for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            kind = line.partition(" - ")[2].split(" ")[0]
            if kind == "fuse" or kind.startswith("fuse."):
                found.add(int(line.split(" ")[2].partition(":")[2]))
    return found


def abort(numbers: Collection[int]) -> None:
    """Every request on them fails from now on. Those that are gone are fine."""
    if not numbers:
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:  # in a mount namespace of its own: nothing of it can be left
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
            kernel.mount("none", str(_CONTROL), "fusectl")
            for number in numbers:
                with suppress(OSError):
                    (_CONTROL / str(number) / "abort").write_text("1")
            status = 0
        finally:
            os._exit(status)
    os.waitpid(child, 0)
