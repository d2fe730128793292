"""The tests are tested: without its guard each story breaks a rule; with all, none does."""

import pytest

from tests.simulation.guards.table import GUARDS, STORIES, Guard, catch
from tests.simulation.play import Story, play
from tests.simulation.variants import Variant


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name.replace(" ", "_"))
def test_without_its_guard_a_rule_breaks(guard: Guard) -> None:
    assert catch(guard).violation is not None, f"nothing misses: {guard.promise}"


@pytest.mark.parametrize(
    ("story", "size", "variant"), STORIES, ids=lambda value: getattr(value, "__name__", "")
)
def test_with_every_guard_the_story_holds(story: Story, size: int, variant: Variant) -> None:
    outcome = play(1, story, size, variant)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])
