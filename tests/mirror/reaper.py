"""`python reaper.py DIRECTORY`: clears away what a killed test run left of its mirrors.

Started by `pair`; waits until its input ends, which it does however the run ended. Then the engines
of this directory are killed, what is mounted below it is unmounted, and its loop devices are freed.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

TRIES = 50
PAUSE_S = 0.1


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    directory = sys.argv[1].rstrip("/") + "/"
    for _ in range(TRIES):
        left = [*_engines(directory), *_mounts(directory), *_loops(directory)]
        if not left:
            return 0
        for pid in _engines(directory):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        loops = _loops(directory)
        for path in reversed(_mounts(directory)):
            _quietly("umount", "-l", path)
        for loop in loops:
            _quietly("losetup", "-d", loop)
        time.sleep(PAUSE_S)
    sys.stderr.write(f"reaper: these stay: {left}\n")
    return 1


def _engines(directory: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if "reconciler.mirror" in words and any(word.startswith(directory) for word in words):
                found.append(int(path.parent.name))
    return found


def _mounts(directory: str) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    paths = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    return [path for path in paths if path.startswith(directory)]


def _loops(directory: str) -> list[str]:
    """Also those on a device of a mount below: their file is named with its path."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if path.read_text().startswith(directory):
                found.append(f"/dev/{path.parents[1].name}")
    return found


def _quietly(*command: str) -> None:
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, check=False, timeout=10)


if __name__ == "__main__":
    sys.exit(main())
