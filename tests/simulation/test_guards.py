"""The tests are tested: without its guard, each of these stories breaks a rule.

What no story or seed misses yet is listed in `UNNOTICED`, so that nobody takes it for tested.
"""

import pytest

from tests.simulation import scenarios
from tests.simulation.chaos import run_seed
from tests.simulation.guards import GUARDS, without
from tests.simulation.play import Story, play

SEEDS = range(1, 6)
CHAOS = range(12)

# guard -> (story that needs it, words of the rule that breaks)
NEEDED: dict[str, tuple[Story, str]] = {
    "no_permit_check": (scenarios.late_effect_after_a_false_confirmation, "no_double_active"),
    "no_session_proof": (scenarios.late_effect_after_a_false_confirmation, "no_double_active"),
    "no_durable_drop": (scenarios.release_that_arrives_late, "proof_before_takeover"),
    "no_drop_before_release": (scenarios.release_that_arrives_late, "proof_before_takeover"),
    "no_boot_coverage": (scenarios.crash_of_the_owner, "as good as any"),
    "no_release_epoch": (scenarios.move_there_and_back, "bounded_work"),
    "no_new_epoch": (scenarios.move_there_and_back, "expected"),
    "no_proof": (scenarios.isolated_owner, "proof_before_takeover"),
    "no_read_back": (
        scenarios.bmc_says_off_while_the_addresses_answer,
        "proof_before_takeover",
    ),
    "no_address_probe": (
        scenarios.bmc_says_off_while_the_addresses_answer,
        "proof_before_takeover",
    ),
    "no_listening": (scenarios.operator_fences_a_healthy_server, "expected: fenced"),
    "no_heartbeat_cross_check": (
        scenarios.operator_fences_through_a_lying_bmc,
        "proof_before_takeover",
    ),
}

# Found by chaos in most seeds.
FOUND_BY_CHAOS = ("no_observed_stop",)

# Nothing notices yet: other guards stand behind them, or no rule is written for what breaks.
UNNOTICED = (
    "no_agreement",
    "no_challenge",
    "no_coordinator_compare",
    "no_slot_compare",
    "no_shared_compares",
    "no_record_compares",
    "no_stop_check",
)


@pytest.mark.parametrize("guard", sorted(NEEDED))
def test_without_its_guard_the_story_breaks_a_rule(guard: str) -> None:
    story, _ = NEEDED[guard]
    for seed in SEEDS:
        with without(guard):
            violation = play(seed, story).violation
        if violation is not None:
            return
    raise AssertionError(f"nothing misses the guard {guard}")


@pytest.mark.parametrize("guard", FOUND_BY_CHAOS)
def test_without_its_guard_chaos_breaks_a_rule(guard: str) -> None:
    for seed in CHAOS:
        with without(guard):
            if run_seed(seed).violation is not None:
                return
    raise AssertionError(f"no seed misses the guard {guard}")


def test_every_guard_is_either_demanded_or_known_to_be_unnoticed() -> None:
    assert {*NEEDED, *FOUND_BY_CHAOS, *UNNOTICED} == set(GUARDS)
