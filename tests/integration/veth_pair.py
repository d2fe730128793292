"""Two private network namespaces joined by a cable; the tests' own thread enters the first."""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE_MAC, THERE_MAC = "02:e0:00:00:00:01", "02:e0:00:00:00:02"
INTERFACE = "pub0"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Why namespaces can't be made here, or None."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    missing = [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]
    return f"needs {missing[0]}" if missing else None


class Namespace:
    """One network namespace, alive as long as its process."""

    def __init__(self) -> None:
        # `cat` ends by itself when this process dies: nothing is left behind.
        self.process = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        own = Path("/proc/self/ns/net").readlink()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{self.process.pid}/ns/net").readlink() == own:
            assert time.monotonic() < deadline, "unshare did not make a namespace"

    def run(self, *command: str) -> str:
        enter = ["nsenter", f"--target={self.process.pid}", "--net", *command]
        done = subprocess.run(enter, check=True, capture_output=True, text=True, timeout=10)
        return done.stdout

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and those that it starts, are inside."""
        with (
            Path("/proc/self/ns/net").open() as outside,
            Path(f"/proc/{self.process.pid}/ns/net").open() as inside,
        ):
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(outside.fileno())

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=10)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Cable:
    """`here` is this server; `there` is somebody else on the same network."""

    def __init__(self) -> None:
        self.here, self.there = Namespace(), Namespace()
        pids = [str(end.process.pid) for end in (self.here, self.there)]
        self.here.run(
            *("ip", "link", "add", INTERFACE, "address", HERE_MAC, "type", "veth"),
            *("peer", "name", INTERFACE, "address", THERE_MAC, "netns", pids[1]),
        )
        for number, end in enumerate((self.here, self.there), start=11):
            end.run("ip", "link", "set", "lo", "up")
            end.run("ip", "link", "set", INTERFACE, "up")
            end.run("ip", "address", "add", f"10.77.2.{number}/24", "dev", INTERFACE)
            six = f"fd77:2::{number}/64"
            end.run("ip", "-6", "address", "add", six, "dev", INTERFACE, "nodad")

    def close(self) -> None:
        self.here.close()
        self.there.close()


@contextmanager
def cable() -> Iterator[Cable]:
    """Skips the test where namespaces can't be made."""
    if reason := why_not():
        pytest.skip(reason)
    made = Cable()
    try:
        with made.here.entered():
            yield made
    finally:
        made.close()
