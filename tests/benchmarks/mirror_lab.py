"""How long writes wait when the standby of a mirror dies, with agents and a real etcd in a lab.

Called by `make bench ARGS=mirror`. n1 serves, n2 follows, n3 votes; a program on n1 writes and
syncs 4 KiB without a pause. First n2's engine is killed, then n2 loses its power. `value` is the
longest write in milliseconds, `quiet_ms` that of as much time before, in which nothing died;
`record_ms` from the begin of the fault's command to the record that names n1 alone, by the
events of the cluster.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clusterctl.demo.story import Lab, events_since
from tests.benchmarks import machine, place, writes

SPECS = """
apiVersion: clusterctl/v1
kind: Group
metadata: {name: db}
spec: {servers: [n1, n2]}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: db
  type: mirror-disk
  file: /var/lib/clusterctl/data.img
  size: 64MiB
  mountPoint: /srv/data
  formatConsent: first-build
"""
STANDBY, VOTER = "n2", "n3"
LOOK_S = 4.0
"""Longer than the detection of a silent server and the time-out of a silent engine together."""

DEADLINE_S = 60.0
KILL = 'kill -9 $(pgrep -f "[r]econciler.mirror")'
FAULTS = {
    "mirror-peer-dies-lab": ("exec", STANDBY, "--", "sh", "-c", KILL),
    "mirror-peer-off-lab": ("power", STANDBY, "off"),
}
Run = dict[str, Any]


def measure(runs: int) -> Iterator[Run]:
    with place.lab_of("default", SPECS) as lab:
        lab.wait_servers(3)
        for number in range(runs):
            for benchmark, fault in FAULTS.items():
                settle(lab)
                with writing(lab) as writer:
                    yield {"benchmark": benchmark, "run": number, **_one(lab, writer, fault)}


def settle(lab: Lab) -> None:
    """Both sides have all data, and the store's leader is on neither of their servers."""
    lab.wait_servers(3)
    lab.clusterctl("wait", "group/db", "--for", "online", "--timeout", "60s")
    end = time.monotonic() + DEADLINE_S
    while (
        json.loads(lab.clusterctl("mirror", "status", "data", "-o", "json"))["state"] != "in-sync"
    ):
        if time.monotonic() > end:
            raise TimeoutError("the mirror is not in sync")
    if place.leader_of(lab) != VOTER:
        place.lead_with(lab, VOTER)
    place.quiet()


def _one(lab: Lab, writer: "Writes", fault: tuple[str, ...]) -> Run:
    writer.since()
    time.sleep(LOOK_S)
    quiet = writer.since()
    load, began = machine.load(), time.time()
    lab.lab(*fault)
    time.sleep(LOOK_S)
    found = writer.since()
    records = [
        (event["at_wall"] - began) * 1000
        for event in events_since(lab, began)
        if event["name"] == "mirror_record_changed" and event["fields"]["servers"] == ["n1"]
    ]
    return {
        "load": load,
        "value": found["longest_ms"],
        "quiet_ms": quiet["longest_ms"],
        "median_ms": quiet["median_ms"],
        "record_ms": [round(ms, 1) for ms in records if ms > 0],
    }


class Writes:
    """The program on n1."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def since(self) -> dict[str, Any]:
        """What it has to tell of the time since this was called last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def writing(lab: Lab) -> Iterator[Writes]:
    program = [sys.executable, "-I", "-S", writes.__file__, "/srv/data/rows"]
    command = [sys.executable, "-m", "clusterctl", "lab", "exec", "--dir", str(lab.directory)]
    with subprocess.Popen(
        [*command, "n1", "--", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Writes(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(DEADLINE_S)
