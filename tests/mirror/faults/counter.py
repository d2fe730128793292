"""A program that writes numbered blocks and syncs each: what was acknowledged, and what is there.

`Counter` starts it; the program itself is this file's `main`.
"""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

BLOCK = 4096
SLOTS = 384
DEADLINE_S = 30.0
_NUMBER = struct.Struct("<QQ")


def block(number: int) -> bytes:
    return _NUMBER.pack(number, ~number & 0xFFFFFFFFFFFFFFFF) * (BLOCK // _NUMBER.size)


def main() -> None:
    """`counter.py FILE`: issued and acknowledged go to the standard output, in place."""
    handle, number = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600), 0
    while True:
        number += 1
        os.pwrite(1, b"%020d" % number, 20)
        os.pwrite(handle, block(number), BLOCK * (number % SLOTS))
        os.fsync(handle)
        os.pwrite(1, b"%020d" % number, 0)


class Counter:
    def __init__(self, file: Path, told: Path) -> None:
        self._told = told
        with told.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-S", __file__, str(file)],
                stdout=output,
                stderr=subprocess.DEVNULL,
            )

    def acknowledged(self) -> int:
        return int(self._told.read_bytes()[:20].strip(b"\0") or b"0")

    def issued(self) -> int:
        return int(self._told.read_bytes()[20:40].strip(b"\0") or b"0")

    def wait(self, count: int) -> None:
        """Until so many are acknowledged."""
        end = time.monotonic() + DEADLINE_S
        while self.acknowledged() < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.acknowledged()} of {count} writes were answered")
            if self.process.poll() is not None:
                raise ChildProcessError("the counter's writes fail")
            time.sleep(0.002)

    def wait_failed(self) -> None:
        """Until a write failed."""
        self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def end(self) -> tuple[int, int]:
        """The last numbers (acknowledged, issued)."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        return self.acknowledged(), self.issued()


def read(file: Path) -> tuple[int, list[int]]:
    """(highest number, numbers below it that ought to be there and are not)."""
    data = file.read_bytes() if file.exists() else b""
    found: dict[int, int] = {}
    for slot in range(len(data) // BLOCK):
        content = data[slot * BLOCK : (slot + 1) * BLOCK]
        number = _NUMBER.unpack_from(content)[0]
        found[slot] = number if content == block(number) else 0
    highest = max(found.values(), default=0)
    wanted = range(max(1, highest - SLOTS + 1), highest + 1)
    return highest, [number for number in wanted if found.get(number % SLOTS) != number]


if __name__ == "__main__":
    main()
