"""`python -m tests.mirror.faults [--runs 500] [--seed 1] [--kind KIND]… [--out FILE.jsonl]`, or
`--check FILE.jsonl…` to judge files again. Exit code 1 after a violation."""

import argparse
import collections
import ctypes
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clusterctl.render.table import table
from tests.mirror.faults.checks import violations
from tests.mirror.faults.kinds import KINDS
from tests.mirror.faults.place import Place, place
from tests.mirror.pair import usable

RUNS_EACH = 12
PLACES = ((False, False), (False, True), (True, False), (False, True), (False, False), (True, True))
"""(asynchronous, on devices), in turn."""

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
Run = dict[str, Any]


def play(runs: int, seed: int, kinds: list[str], minutes: float) -> Iterator[Run]:
    """Each run as it ends."""
    end, number = time.monotonic() + minutes * 60, 0
    for turn in range(runs):
        asynchronous, on_devices = PLACES[turn % len(PLACES)]
        with ExitStack() as stack:
            where = stack.enter_context(place(asynchronous=asynchronous, on_devices=on_devices))
            for _ in range(RUNS_EACH):
                rng = random.Random(f"{seed}:{number}")
                found = _one(where, kinds[rng.randrange(len(kinds))], rng)
                yield {"run": number, "seed": seed, **found}
                number += 1
                if number >= runs or time.monotonic() > end:
                    return
                if found["violations"] or where.is_worn:
                    break


def _one(where: Place, kind: str, rng: random.Random) -> Run:
    began = time.monotonic()
    try:
        counter = where.begin()
        counter.wait(rng.randrange(3, 80))
        KINDS[kind](where, rng)
        where.finish()
    except Exception as error:  # noqa: BLE001 - whatever it was, the run did not end well
        where.tell("stuck", why=f"{type(error).__name__}: {error}"[:600])
    return {
        "kind": kind,
        "asynchronous": where.asynchronous,
        "on_devices": where.on_devices,
        "seconds": round(time.monotonic() - began, 1),
        "history": list(where.cluster.history),
        "violations": violations(where.cluster.history, asynchronous=where.asynchronous),
    }


def summary(runs: list[Run]) -> list[str]:
    rows = []
    for mode in (False, True):
        for kind in sorted({run["kind"] for run in runs if run["asynchronous"] is mode}):
            some = [run for run in runs if (run["kind"], run["asynchronous"]) == (kind, mode)]
            counts = collections.Counter(e["event"] for run in some for e in run["history"])
            promised = sum(_last(run, "acknowledged") for run in some)
            found = sum(_last(run, "found") for run in some)
            numbers = (counts["promoted"], counts["refused"], promised, found)
            broken = sum(len(run["violations"]) for run in some)
            name = "async" if mode else "sync"
            rows.append((kind, name, *(str(n) for n in (len(some), *numbers, broken))))
    heads = ("FAULT", "MODE", "RUNS", "PROMOTED", "REFUSED", "ACKNOWLEDGED", "FOUND", "VIOLATIONS")
    return table(heads, rows)


def _last(run: Run, event: str) -> int:
    """The number of its last event of this kind: the counter of a run is told once or more."""
    return next((int(e["number"]) for e in reversed(run["history"]) if e["event"] == event), 0)


def _check(files: list[Path]) -> int:
    runs = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    for run in runs:
        run["violations"] = violations(run["history"], asynchronous=run["asynchronous"])
        for sentence in run["violations"]:
            print(f"run {run['run']} ({run['kind']}): {sentence}")
    print("\n".join(summary(runs)))
    return 1 if any(run["violations"] for run in runs) else 0


def own_mounts() -> None:
    """What is mounted from now on is seen by this process and its children only, and is gone with
    them: others that copy the machine's mounts meanwhile would keep file systems in use."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mounts of its own")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mirror.faults")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--out", type=Path, default=Path("build/mirror-faults.jsonl"))
    parser.add_argument("--check", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.check is not None:
        return _check(options.check)
    problem = usable()
    if problem is not None:
        sys.stderr.write(f"faults on mirrors can't be tried here: {problem}\n")
        return 2
    own_mounts()
    runs: list[Run] = []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w") as file:
        for run in play(options.runs, options.seed, options.kind or [*KINDS], options.minutes):
            runs.append(run)
            file.write(json.dumps(run) + "\n")
            file.flush()
            said = "; ".join(run["violations"]) or "ok"
            print(f"{run['run']} {run['kind']} {run['seconds']} s: {said}", file=sys.stderr)
    print("\n".join(summary(runs)))
    return 1 if any(run["violations"] for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
