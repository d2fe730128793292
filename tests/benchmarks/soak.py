"""Suspicions of healthy servers while the machine is loaded: there must be none.

Burns processors, writes and syncs files, and forks, one after the other, as ordinary processes.
"""

import json
import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from clusterctl.demo.story import Lab
from tests.benchmarks import machine

WORKERS = {"cpu": 4, "disk": 4, "fork": 16}
PHASE_S = 60.0
COUNTED = (
    "server_suspected",
    "server_silent",
    "server_challenged",
    "fence_requested",
    "session_lost",
    "pulse_paused",
    "store_watch_stale",
    "group_failed",
)
FALSE = ("server_suspected", "fence_requested")


def soak(lab: Lab, minutes: float) -> list[dict[str, Any]]:
    """One run for each phase: {"phase", "seconds", "events": {name: count}, "false": count}."""
    end = time.monotonic() + minutes * 60
    runs = []
    while (left := end - time.monotonic()) > 1:
        phase = list(WORKERS)[len(runs) % len(WORKERS)]
        runs.append(_phase(lab, phase, min(PHASE_S, left)))
        print(json.dumps(runs[-1]), flush=True)
    return runs


def _phase(lab: Lab, name: str, seconds: float) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    folder = lab.directory / "burn"
    folder.mkdir(exist_ok=True)
    workers = [
        context.Process(target=BURNERS[name], args=(folder / str(number),), daemon=True)
        for number in range(WORKERS[name])
    ]
    began = time.time()
    for worker in workers:
        worker.start()
    try:
        time.sleep(seconds)
        load = machine.load()
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    counts = _events(lab, began)
    false = sum(counts[word] for word in FALSE)
    return {
        "phase": name,
        "seconds": round(seconds, 1),
        "load": load,
        "events": dict(counts),
        "false": false,
    }


def _events(lab: Lab, began: float) -> Counter[str]:
    """From the servers' own files: they do not depend on a store that is slow under load."""
    counts: Counter[str] = Counter()
    for path in (lab.directory / "servers").glob("*/state/events*.jsonl"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["name"] in COUNTED and event["at_wall"] >= began:
                counts[event["name"]] += 1
    return counts


def _burn_cpu(_path: Path) -> None:
    number = 0
    while True:
        number += 1


def _burn_disk(path: Path) -> None:
    block = os.urandom(1 << 20)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    while True:
        os.lseek(descriptor, 0, os.SEEK_SET)
        for _ in range(16):
            os.write(descriptor, block)
        os.fdatasync(descriptor)


def _burn_fork(_path: Path) -> None:
    while True:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


BURNERS = {"cpu": _burn_cpu, "disk": _burn_disk, "fork": _burn_fork}
