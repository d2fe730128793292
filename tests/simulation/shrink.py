"""Makes a failing seed's schedule small: Hypothesis leaves faults out, as long as the same
invariant breaks.

A number for each fault says whether it stays; nought, which Hypothesis prefers, leaves it out. So
the search begins near the schedule that failed, and ends with the few faults that are needed.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tests.simulation.chaos import run_seed, size_of
from tests.simulation.faults import Fault, draw
from tests.simulation.play import Outcome

MOST_RUNS = 200
STAYS = 9  # of ten numbers: the first tries lack few faults
GROUPS = ("a", "b")


def invariant_of(violation: str | None) -> str:
    return (violation or "").partition(":")[0]


def smallest(
    faults: tuple[Fault, ...], fails: Callable[[tuple[Fault, ...]], bool]
) -> tuple[Fault, ...]:
    """The smallest part of `faults` that was found to fail; all of them if none was."""
    best = faults

    def looked_at(choice: tuple[int, ...]) -> bool:
        nonlocal best
        part = tuple(fault for fault, stays in zip(faults, choice, strict=True) if stays)
        failed = fails(part)
        if failed and len(part) < len(best):
            best = part
        return failed

    quiet = settings(
        max_examples=MOST_RUNS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        find(st.tuples(*[st.integers(0, STAYS)] * len(faults)), looked_at, settings=quiet)
    except NoSuchExample:
        return faults
    return best


def shrink(seed: int, size: int | None = None) -> tuple[tuple[Fault, ...], Outcome]:
    """The smallest schedule found that breaks the same invariant, and its run."""
    servers = size or size_of(seed)
    faults = draw(seed, tuple(f"n{i}" for i in range(1, servers + 1)), GROUPS)
    first = run_seed(seed, servers, faults)
    wanted, tried = invariant_of(first.violation), {faults: first}
    if first.violation is None:
        return faults, first

    def fails(part: tuple[Fault, ...]) -> bool:
        if part not in tried:
            if len(tried) > MOST_RUNS:
                return False
            tried[part] = run_seed(seed, servers, part)
        return invariant_of(tried[part].violation) == wanted

    best = smallest(faults, fails)
    return best, tried[best]
