"""`python -m tests.simulation --seeds 0:200 [--jobs 2]` or `--seed 17 --trace`."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.chaos import run_seed
from tests.simulation.play import Outcome


def _short(seed: int) -> Outcome:
    outcome = run_seed(seed)
    return Outcome(seed, outcome.violation, ())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0:200", help="FIRST:END")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.seed is not None:
        outcome = run_seed(options.seed)
        if options.trace:
            print("\n".join(outcome.trace))
        print(f"seed {outcome.seed}: {outcome.violation or 'ok'}")
        return 1 if outcome.violation else 0
    first, end = (int(part) for part in options.seeds.split(":"))
    began, failed = time.monotonic(), 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(_short, range(first, end), chunksize=4):
            if outcome.violation:
                failed += 1
                print(f"seed {outcome.seed}: {outcome.violation}")
    took = time.monotonic() - began
    count = end - first
    print(f"{count} seeds in {took:.1f} s ({count / took:.1f}/s), {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
