"""`python -m tests.mirror.simulation --seeds 0:10000 [--jobs 2]` or `--seed 17 --trace`."""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.mirror.simulation.play import Outcome, run_seed


def _short(seed: int) -> Outcome:
    try:
        return Outcome(seed, run_seed(seed).violation, ())
    except Exception as error:  # noqa: BLE001 - a crash of the roles is a finding as well
        return Outcome(seed, f"{type(error).__name__}: {error}", ())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0:1000", help="FIRST:END")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--jobs", type=int, default=1)
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
        for outcome in pool.map(_short, range(first, end), chunksize=16):
            if outcome.violation:
                failed += 1
                print(f"seed {outcome.seed}: {outcome.violation}")
    took, count = time.monotonic() - began, end - first
    print(f"{count} schedules in {took:.1f} s ({count / took:.0f}/s), {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
