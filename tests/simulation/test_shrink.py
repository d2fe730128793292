"""A schedule that fails is made as small as it can be, and a failure is never lost on the way."""

from tests.simulation.faults import Fault
from tests.simulation.shrink import smallest

FAULTS = tuple(Fault(float(at), "crash_agent", (f"n{at % 3 + 1}",)) for at in range(24))


def test_only_what_is_needed_stays() -> None:
    needed = {FAULTS[5], FAULTS[17]}

    found = smallest(FAULTS, lambda part: needed <= set(part))

    assert set(found) == needed


def test_what_fails_without_faults_needs_none() -> None:
    assert smallest(FAULTS, lambda part: True) == ()


def test_what_fails_as_a_whole_only_stays_whole() -> None:
    assert smallest(FAULTS, lambda part: part == FAULTS) == FAULTS
