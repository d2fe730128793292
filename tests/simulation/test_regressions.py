"""What was broken once stays whole."""

import pytest

from tests.simulation import regressions
from tests.simulation.chaos import run_seed
from tests.simulation.play import Story, play


@pytest.mark.parametrize(("line", "story", "size"), regressions.STORIES)
def test_story(line: str, story: Story, size: int) -> None:
    for seed in (1, 2, 3):
        assert play(seed, story, size).violation is None, line


@pytest.mark.parametrize(("seed", "line"), regressions.SEEDS)
def test_seed(seed: int, line: str) -> None:
    assert run_seed(seed).violation is None, line
