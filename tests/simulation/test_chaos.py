"""Random faults on the real loops: no rule is ever broken, and all converges once they end.

Replay a seed that fails with `python -m tests.simulation --seed N --trace`.
"""

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.simulation.chaos import run_seed

WORKERS = 2


def _violation(seed: int, size: int = 3) -> tuple[int, str | None]:
    return seed, run_seed(seed, size).violation


def _five(seed: int) -> tuple[int, str | None]:
    return _violation(seed, 5)


def broken(seeds: range, size: int = 3) -> dict[int, str]:
    """Seeds with a violation."""
    with ProcessPoolExecutor(WORKERS) as pool:
        found = pool.map(_violation if size == 3 else _five, seeds, chunksize=5)
        return {seed: violation for seed, violation in found if violation is not None}


@pytest.mark.timeout(600)
def test_three_servers_keep_every_promise_under_200_seeds_of_chaos() -> None:
    assert broken(range(200)) == {}


@pytest.mark.timeout(600)
def test_five_servers_keep_every_promise_under_chaos() -> None:
    assert broken(range(1000, 1010), size=5) == {}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_servers_keep_every_promise_under_2000_more_seeds() -> None:
    assert broken(range(200, 2200)) == {}
