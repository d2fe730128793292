"""`python -m tests.simulation --seeds 0:200 [--jobs 2] [--resume FILE]`, or `--seed 17` with
`--trace` or `--shrink`. `--size 5` fixes the number of servers; else the seed chooses."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.chaos import run_seed, size_of
from tests.simulation.play import Outcome
from tests.simulation.shrink import shrink

FAILED = 1


def _short(arguments: tuple[int, int | None]) -> tuple[int, str | None]:
    seed, size = arguments
    outcome = run_seed(seed, size)
    if outcome.violation is not None:
        _write_trace(outcome)
    return seed, outcome.violation


def _trace_path(seed: int) -> Path:
    return Path(tempfile.gettempdir()) / f"clusterctl-simulation-{seed}.trace"


def _write_trace(outcome: Outcome) -> None:
    _trace_path(outcome.seed).write_text("\n".join((*outcome.trace, "")))


def commit() -> str:
    """The commit of this tree, with a + if it was changed since."""
    here = Path(__file__).parent
    try:
        command = ["git", "describe", "--always", "--dirty=+"]
        found = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


class Progress:
    """Finished seeds in a file, one JSON object a line, so that a long run can go on later."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.done: dict[int, str | None] = {}
        if path is not None and path.exists():
            lines = [json.loads(line) for line in path.read_text().splitlines() if line]
            self.done = {line["seed"]: line["violation"] for line in lines}

    def add(self, seed: int, violation: str | None) -> None:
        self.done[seed] = violation
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"seed": seed, "violation": violation}) + "\n")


def _run_many(seeds: list[int], size: int | None, jobs: int) -> Iterator[tuple[int, str | None]]:
    work = [(seed, size) for seed in seeds]
    if jobs == 1:
        yield from map(_short, work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_short, work, chunksize=4)


def many(first: int, end: int, size: int | None, jobs: int, resume: Path | None) -> int:
    progress = Progress(resume)
    seeds = [seed for seed in range(first, end) if seed not in progress.done]
    if len(seeds) < end - first:
        print(f"{end - first - len(seeds)} seeds were run before")
    began = time.monotonic()
    for seed, violation in _run_many(seeds, size, jobs):
        progress.add(seed, violation)
        if violation:
            print(f"seed {seed} ({size or size_of(seed)} servers) at {commit()}: {violation}")
            print(f"    trace in {_trace_path(seed)}", flush=True)
    took = max(0.001, time.monotonic() - began)
    failed = sum(progress.done.get(seed) is not None for seed in range(first, end))
    print(
        f"{len(seeds)} seeds in {took:.1f} s ({len(seeds) / took:.1f}/s, {jobs} jobs); "
        f"{failed} of {end - first} failed"
    )
    return FAILED if failed else 0


def one(seed: int, size: int | None, *, trace: bool, smaller: bool) -> int:
    if smaller:
        faults, outcome = shrink(seed, size)
        print("\n".join(str(fault) for fault in faults))
    else:
        outcome = run_seed(seed, size)
    if trace:
        print("\n".join(outcome.trace))
    print(f"seed {seed} ({size or size_of(seed)} servers): {outcome.violation or 'ok'}")
    if outcome.violation is None:
        return 0
    _write_trace(outcome)
    print(f"at {commit()}; trace in {_trace_path(seed)}", file=sys.stderr)
    return FAILED


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0:200", help="FIRST:END")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--size", type=int, help="servers; else the seed chooses 3 or 5")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--shrink", action="store_true", help="leave out what is not needed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resume", type=Path, help="file of finished seeds; they are skipped")
    options = parser.parse_args()
    if options.seed is not None:
        return one(options.seed, options.size, trace=options.trace, smaller=options.shrink)
    first, end = (int(part) for part in options.seeds.split(":"))
    return many(first, end, options.size, options.jobs, options.resume)


if __name__ == "__main__":
    sys.exit(main())
