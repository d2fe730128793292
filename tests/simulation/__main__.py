"""`python -m tests.simulation --seeds 0:200 [--jobs 2] [--resume FILE]`, or `--seed 17` with
`--trace` or `--shrink`. `--size 5` fixes the number of servers; else the seed chooses. `--without`
takes out a guard of the product, to see what notices."""

import argparse
import contextlib
import ctypes
import gc
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.simulation.chaos import run_seed, size_of
from tests.simulation.guards.table import GUARDS, without
from tests.simulation.play import Outcome
from tests.simulation.progress import Finished, Progress
from tests.simulation.shrink import shrink

FAILED, INTERRUPTED = 1, 130
TELL_EVERY_S = 60.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def trace_path(seed: int) -> Path:
    return Path(tempfile.gettempdir()) / f"clusterctl-simulation-{seed}.trace"


def write_trace(outcome: Outcome) -> None:
    trace_path(outcome.seed).write_text("\n".join((*outcome.trace, "")))


def commit() -> str:
    """The commit of this tree, with a + if it was changed since."""
    here = Path(__file__).parent
    try:
        command = ["git", "describe", "--always", "--dirty=+"]
        found = subprocess.run(
            command, cwd=here, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def play_one(tree: str, missing: str, work: tuple[int, int]) -> Finished:
    """A fault of the simulator itself is a failed seed too, and ends no long run."""
    seed, servers = work
    try:
        outcome = run_seed(seed, servers)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has a seed
        outcome = Outcome(seed, f"the simulator broke: {error!r}", (traceback.format_exc(),))
    if outcome.violation is not None:
        write_trace(outcome)
    return Finished(seed, servers, outcome.violation, tree, missing)


def _begin_worker(parent_gone: int = signal.SIGKILL) -> None:
    """What is loaded stays: the collection after each seed need not look at it. And whoever kills
    the parent has ended its workers."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, parent_gone)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


def _run_many(
    work: list[tuple[int, int]], jobs: int, tree: str, missing: str
) -> Iterator[Finished]:
    play = partial(play_one, tree, missing)
    if jobs == 1:
        gc.freeze()
        yield from map(play, work)
        return
    with ProcessPoolExecutor(jobs, initializer=_begin_worker) as pool:
        try:
            yield from pool.map(play, work, chunksize=2)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Run:
    """A range of seeds, and what is told of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tree, self.without, self.jobs = commit(), options.without or "", options.jobs
        seeds = range(*options.seeds)
        self.all = [(seed, options.size or size_of(seed)) for seed in seeds]
        self.progress = Progress(options.resume, self.without)
        self.work = [found for found in self.all if found not in self.progress.done]
        self._ran: Counter[int] = Counter()
        self._began = self._told = time.monotonic()

    def play(self) -> int:
        if len(self.work) < len(self.all):
            known = ", ".join(self.progress.commits())
            print(f"{len(self.all) - len(self.work)} seeds were run before (at {known})")
        ended = False
        try:
            for finished in _run_many(self.work, self.jobs, self.tree, self.without):
                self._add(finished)
            ended = True
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        failed = sum(self._is_failed(found) for found in self.all)
        print(f"{self._pace()}; {failed} of {len(self.all)} failed")
        return FAILED if failed else 0 if ended else INTERRUPTED

    def _is_failed(self, work: tuple[int, int]) -> bool:
        finished = self.progress.done.get(work)
        return finished is not None and finished.violation is not None

    def _add(self, finished: Finished) -> None:
        self.progress.add(finished)
        self._ran[finished.servers] += 1
        if finished.violation:
            self._tell_failure(finished)
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            print(f"{self._pace()} so far", file=sys.stderr, flush=True)

    def _tell_failure(self, finished: Finished) -> None:
        seed, servers = finished.seed, finished.servers
        again = f"{shlex.quote(sys.executable)} -m tests.simulation --seed {seed} --size {servers}"
        if self.without:
            again += f" --without {shlex.quote(self.without)}"
        print(f"seed {seed} ({servers} servers) at {self.tree}: {finished.violation}")
        print(f"    trace: {trace_path(seed)}")
        print(f"    again: {again} --trace")
        print(f"    small: {again} --shrink", flush=True)

    def _pace(self) -> str:
        took, ran = max(0.001, time.monotonic() - self._began), sum(self._ran.values())
        sizes = ", ".join(f"{n} with {size} servers" for size, n in sorted(self._ran.items()))
        jobs = f"{self.jobs} job{'s' * (self.jobs != 1)}"
        return f"{ran} seeds in {took:.1f} s, {ran / took:.1f}/s with {jobs} ({sizes or 'none'})"


def one(options: argparse.Namespace) -> int:
    seed, servers = options.seed, options.size or size_of(options.seed)
    if options.shrink:
        faults, outcome = shrink(seed, servers)
        print("\n".join(str(fault) for fault in faults))
    else:
        outcome = run_seed(seed, servers)
    if options.trace:
        print("\n".join(outcome.trace))
    print(f"seed {seed} ({servers} servers): {outcome.violation or 'ok'}")
    if outcome.violation is None:
        return 0
    write_trace(outcome)
    print(f"at {commit()}; trace: {trace_path(seed)}", file=sys.stderr)
    return FAILED


def _range(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    with contextlib.suppress(ValueError):
        if colon and 0 <= int(first) < int(end):
            return int(first), int(end)
    raise argparse.ArgumentTypeError(f"{text!r} is no FIRST:END, such as 0:200")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")


def _options() -> argparse.Namespace:
    names = sorted(guard.name for guard in GUARDS)
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=_range, default=(0, 200), help="FIRST:END")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--size", type=_positive, help="servers; else the seed chooses 3 or 5")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--shrink", action="store_true", help="leave out what is not needed")
    parser.add_argument("--jobs", type=_positive, default=2)
    parser.add_argument("--resume", type=Path, help="file of finished seeds; they are skipped")
    parser.add_argument(
        "--without", choices=names, metavar="GUARD", help=f"take one out: {', '.join(names)}"
    )
    options = parser.parse_args()
    if options.seed is None and (options.trace or options.shrink):
        parser.error("--trace and --shrink need a --seed")
    return options


def main() -> int:
    options = _options()
    taken_out = next((guard for guard in GUARDS if guard.name == options.without), None)
    with without(taken_out) if taken_out else contextlib.nullcontext():
        return Run(options).play() if options.seed is None else one(options)


if __name__ == "__main__":
    sys.exit(main())
