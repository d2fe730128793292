"""Random faults on the real loops: no rule is ever broken, and all converges once they end.

Replay a seed that fails with `python -m tests.simulation --seed N --trace`, make it small with
`--shrink`.
"""

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.chaos import run_seed

WORKERS = 2


def _violation(seed: int) -> tuple[int, str | None]:
    return seed, run_seed(seed).violation


def broken(seeds: range) -> dict[int, str]:
    """Seeds with a violation; each chooses three or five servers."""
    with ProcessPoolExecutor(WORKERS) as pool:
        found = pool.map(_violation, seeds, chunksize=5)
        return {seed: violation for seed, violation in found if violation is not None}


@pytest.mark.timeout(600)
def test_every_promise_is_kept_under_60_seeds_of_chaos() -> None:
    assert broken(range(60)) == {}


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_every_promise_is_kept_under_2000_more_seeds() -> None:
    assert broken(range(200, 2200)) == {}
