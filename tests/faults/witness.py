"""A workload that writes its own history, for the fault tests: `witness.py FILE`.

Run as an `application` resource. FILE is shared by all servers of a lab, which have one kernel and
so one monotonic clock: what stands in it is what really ran, whatever the product says of it.
Standard library only. One JSON line {t, wall, server, epoch, pid, group, event} per event:
`up` at its start, `beat` every 20 ms, `down` when it was asked to end and is about to.
"""

import json
import os
import signal
import sys
import time

EVERY_S = 0.02


class Witness:
    """`stopping` is set by SIGTERM; with WITNESS_STUBBORN set the wish is noted and ignored."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stubborn = bool(os.environ.get("WITNESS_STUBBORN"))
        self._stopping = False
        signal.signal(signal.SIGTERM, self._asked_to_end)

    def _asked_to_end(self, number: int, frame: object) -> None:
        if self._stubborn:
            self._write("refused")
        else:
            self._stopping = True

    def _write(self, event: str) -> None:
        line = {
            "t": time.monotonic(),
            "wall": time.time(),
            "server": os.environ["CLUSTER_SERVER"],
            "group": os.environ["CLUSTER_GROUP"],
            "epoch": int(os.environ["CLUSTER_EPOCH"]),
            "pid": os.getpid(),
            "event": event,
        }
        # one write with O_APPEND: lines of several servers never mix
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def run(self) -> None:
        self._write("up")
        while not self._stopping:
            time.sleep(EVERY_S)
            self._write("beat")
        self._write("down")


if __name__ == "__main__":
    Witness(sys.argv[1]).run()
