"""The cases that an administrator would try first, on the real loops in virtual time."""

import pytest

from tests.simulation import scenarios
from tests.simulation.play import Story, play

STORIES: tuple[Story, ...] = (
    scenarios.crash_of_the_owner,
    scenarios.isolated_owner,
    scenarios.bmc_says_off_while_the_addresses_answer,
    scenarios.operator_fences_through_a_lying_bmc,
    scenarios.operator_fences_a_healthy_server,
    scenarios.dead_bmc_until_a_person_confirms,
    scenarios.move_there_and_back,
    scenarios.refused_move,
    scenarios.stop_and_start,
    scenarios.power_loss_of_everything,
    scenarios.slow_return_after_a_power_loss,
    scenarios.power_loss_and_one_never_returns,
    scenarios.late_effect_after_a_false_confirmation,
    scenarios.release_that_arrives_late,
)


def _name(story: Story) -> str:
    return getattr(story, "__name__", "story")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("story", STORIES, ids=_name)
def test_story(story: Story, seed: int) -> None:
    outcome = play(seed, story)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


@pytest.mark.parametrize("server", ["n1", "n3"], ids=["coordinator", "owner"])
@pytest.mark.parametrize("step", scenarios.STEPS)
def test_an_agent_may_die_at_any_step_of_a_start(step: str, server: str) -> None:
    outcome = play(1, scenarios.CrashAt(step, server))
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


def test_the_same_story_with_five_servers() -> None:
    outcome = play(1, scenarios.crash_of_the_owner, size=5)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


@pytest.mark.parametrize("seed", [9, 10, 11, 14, 16])
def test_a_bmc_that_lies_just_before_the_next_heartbeat(seed: int) -> None:
    """The probe of the addresses takes less than a heartbeat: its end is too early to judge."""
    outcome = play(seed, scenarios.operator_fences_through_a_lying_bmc)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])
