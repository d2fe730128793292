"""An `agent hold` at the pulse: what runs under `keep` waits, under `stop` it does not."""

from pathlib import Path

import pytest

from reconciler.pulse.deadman import LONGEST_HOLD_S, DeadManState, Scope, Situation, step
from reconciler.pulse.watch import DeadMan


def scope(now: float, held_until: float, *, stop: bool = False) -> Scope:
    """Alone and unproven since 0, with a deadline of 6 s."""
    situation = Situation(now, 6.0, 0.0, False, True, stop, held_until)
    _, found, _ = step(DeadManState(isolated_since=0.0), situation)
    return found


def test_a_stretched_deadline_ends_nothing_before_its_end() -> None:
    assert scope(7.0, 0.0) is Scope.EVERYTHING
    assert scope(7.0, 100.0) is Scope.NOTHING
    assert scope(99.9, 100.0) is Scope.NOTHING
    assert scope(100.0, 100.0) is Scope.EVERYTHING


def test_what_must_stop_without_the_store_is_never_stretched() -> None:
    assert scope(7.0, 100.0, stop=True) is Scope.STOP


def test_the_first_end_of_a_hold_stands_and_a_new_pulse_knows_it(tmp_path: Path) -> None:
    path = str(tmp_path / "pulse.json")
    watch = DeadMan(path, 0.0)
    watch.stretch("01", 100.0, 1.0)
    watch.stretch("01", 500.0, 2.0)
    assert watch.summary(2.0)["stretched_until"] == 100.0
    assert DeadMan(path, 3.0).summary(3.0)["stretched_until"] == 100.0
    watch.stretch("01", 0.0, 4.0)
    watch.stretch("01", 500.0, 5.0)
    assert watch.summary(5.0)["stretched_until"] == 0.0
    watch.stretch("02", 500.0, 6.0)
    assert watch.summary(6.0)["stretched_until"] == 500.0


def test_a_hold_is_bounded_and_has_a_name() -> None:
    watch = DeadMan(None, 0.0)
    watch.stretch("01", 1e9, 10.0)
    assert watch.summary(10.0)["stretched_until"] == 10.0 + LONGEST_HOLD_S
    with pytest.raises(ValueError, match="no name"):
        watch.stretch("", 20.0, 10.0)


def test_another_boot_knows_nothing_of_it() -> None:
    watch = DeadMan(None, 0.0)
    watch.bind("one")
    watch.stretch("01", 100.0, 1.0)
    watch.bind("two")
    assert watch.summary(2.0)["stretched_until"] == 0.0
