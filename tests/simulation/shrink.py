"""Makes a failing seed's schedule small: parts of it are left out as long as the same invariant
breaks (delta debugging, Zeller's ddmin).

Not Hypothesis: it would have to find the failure anew in data that it draws itself, and shrinks a
run of seconds byte by byte. Here the seed that failed is the start, and whole faults go.
"""

from tests.simulation.chaos import run_seed, size_of
from tests.simulation.faults import Fault, draw
from tests.simulation.play import Outcome

MOST_RUNS = 200
GROUPS = ("a", "b")


def invariant_of(violation: str | None) -> str:
    return (violation or "").partition(":")[0]


def shrink(seed: int, size: int | None = None) -> tuple[tuple[Fault, ...], Outcome]:
    """The smallest schedule found that breaks the same invariant, and its run."""
    servers = size or size_of(seed)
    faults = draw(seed, tuple(f"n{i}" for i in range(1, servers + 1)), GROUPS)
    best = run_seed(seed, servers, faults)
    wanted, runs, parts = invariant_of(best.violation), 0, 2
    if best.violation is None:
        return faults, best
    while len(faults) > 0 and runs < MOST_RUNS:
        step = max(1, len(faults) // parts)
        for start in range(0, len(faults), step):
            fewer = faults[:start] + faults[start + step :]
            outcome, runs = run_seed(seed, servers, fewer), runs + 1
            if invariant_of(outcome.violation) == wanted:
                faults, best, parts = fewer, outcome, max(2, parts - 1)
                break
        else:
            if step == 1:
                break
            parts = min(len(faults), parts * 2)
    return faults, best
