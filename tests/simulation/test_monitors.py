"""Monitors and their recovery on the real loops, in virtual time."""

import pytest

from tests.simulation import monitors
from tests.simulation.play import Story, play

STORIES: tuple[Story, ...] = (
    monitors.sick_on_one_server,
    monitors.sick_everywhere,
    monitors.flapping,
    monitors.final_action,
    monitors.reboot,
    monitors.recovery_waits_for_the_operator,
    monitors.lost_store,
)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: getattr(story, "__name__", "story"))
def test_story(story: Story, seed: int) -> None:
    outcome = play(seed, story)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


@pytest.mark.parametrize("seed", range(6))
def test_chaos_around_a_monitor(seed: int) -> None:
    outcome = play(seed, monitors.chaos_around)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])
    assert not outcome.happened("monitor_broke")


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_agent_that_dies_in_a_recovery_does_not_count_anew(after: int) -> None:
    outcome = play(1, monitors.AgentDies(after))
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])
