"""A workload that writes its own history, for the fault tests: `witness.py DIRECTORY`.

Run as an `application` resource. DIRECTORY is shared by all servers of a lab, which have one kernel
and so one monotonic clock: what stands in its files is what really ran, whatever the product says
of it. Standard library only.

    history         one JSON line {t, wall, server, epoch, pid, group, event} per event: `up` at its
                    start, `beat` every 20 ms, `down` when it was asked to end and is about to
    register-GROUP  the highest epoch that wrote and how many writes there were; it refuses a lower
                    epoch, as a disk with a reservation does (events `register`, `register_refused`)
    numbers-GROUP   one line {number} {epoch} {server} per write, each one more than the last and
                    synced; event `ack` once it is: from then on it must never be lost
"""

import fcntl
import json
import os
import signal
import sys
import time

EVERY_S = 0.02
STORE_EVERY = 5  # beats


class Witness:
    """`stopping` is set by SIGTERM; with WITNESS_STUBBORN set the wish is noted and ignored."""

    def __init__(self, directory: str) -> None:
        self._server = os.environ["CLUSTER_SERVER"]
        self._group = os.environ["CLUSTER_GROUP"]
        self._epoch = int(os.environ["CLUSTER_EPOCH"])
        self._history = _open(directory, "history", os.O_WRONLY | os.O_APPEND)
        self._register = _open(directory, f"register-{self._group}", os.O_RDWR)
        self._numbers = _open(directory, f"numbers-{self._group}", os.O_RDWR | os.O_APPEND)
        self._stubborn = bool(os.environ.get("WITNESS_STUBBORN"))
        self._stopping = False
        signal.signal(signal.SIGTERM, self._asked_to_end)

    def _asked_to_end(self, number: int, frame: object) -> None:
        if self._stubborn:
            self._write("refused")
        else:
            self._stopping = True

    def _write(self, event: str, **more: int) -> None:
        line = {
            "t": time.monotonic(),
            "wall": time.time(),
            "server": self._server,
            "group": self._group,
            "epoch": self._epoch,
            "pid": os.getpid(),
            "event": event,
            **more,
        }
        # one write with O_APPEND: lines of several servers never mix
        os.write(self._history, json.dumps(line).encode() + b"\n")

    def run(self) -> None:
        self._write("up")
        beats = 0
        while not self._stopping:
            time.sleep(EVERY_S)
            beats += 1
            self._write("beat")
            if beats % STORE_EVERY == 0:
                self._store()
        self._write("down")

    def _store(self) -> None:
        """One guarded write. A witness that stands still with the lock must not stop another."""
        try:
            fcntl.flock(self._register, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._write("register_busy")
            return
        try:
            epoch, serial = (
                int(word) for word in os.pread(self._register, 64, 0).split() or (0, 0)
            )
            if epoch > self._epoch:
                self._write("register_refused", seen=epoch)
                return
            os.pwrite(self._register, f"{self._epoch:020d} {serial + 1:020d}\n".encode(), 0)
            self._write("register", serial=serial + 1)
            number = self._last_number() + 1
            os.write(self._numbers, f"{number} {self._epoch} {self._server}\n".encode())
            os.fsync(self._numbers)
            self._write("ack", number=number)
        finally:
            fcntl.flock(self._register, fcntl.LOCK_UN)

    def _last_number(self) -> int:
        size = os.fstat(self._numbers).st_size
        lines = os.pread(self._numbers, 256, max(0, size - 256)).split(b"\n")
        return int(lines[-2].split()[0]) if len(lines) > 1 else 0


def _open(directory: str, name: str, flags: int) -> int:
    return os.open(f"{directory}/{name}", flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


if __name__ == "__main__":
    Witness(sys.argv[1]).run()
