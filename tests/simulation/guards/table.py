"""Which story, or which seeds of chaos, need which guard; read by the test and by `__main__`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.simulation import scenarios
from tests.simulation.chaos import run_seed
from tests.simulation.guards import decisions, effects, stories
from tests.simulation.play import Story, play

Switch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Guard:
    """`story` None: chaos, `seeds` of it. `size`: servers of the story."""

    off: Switch
    story: Story | None
    size: int = 3
    seeds: range = range(1, 6)

    @property
    def name(self) -> str:
        return self.off.__name__.removeprefix("no_").replace("_", " ")

    @property
    def promise(self) -> str:
        return " ".join((self.off.__doc__ or "").split())


@dataclass(frozen=True, slots=True)
class Caught:
    """What noticed that a guard was missing."""

    guard: Guard
    violation: str | None
    where: str


GUARDS: tuple[Guard, ...] = (
    Guard(effects.no_permit_check, scenarios.late_effect_after_a_false_confirmation),
    Guard(decisions.no_session_proof, stories.last_moments_of_a_proof),
    Guard(decisions.no_overdue_check, stories.last_moments_of_a_proof),
    Guard(effects.no_send_time, stories.last_moments_of_a_proof),
    Guard(effects.no_session_bound, stories.session_on_old_knowledge),
    Guard(decisions.no_pulse_needed, stories.start_without_a_pulse),
    Guard(decisions.no_pause_check, stories.start_after_a_pause),
    Guard(decisions.no_boot_match, stories.quick_restart),
    Guard(decisions.no_new_epoch, scenarios.move_there_and_back),
    Guard(effects.no_durable_drop, scenarios.release_that_arrives_late),
    Guard(decisions.no_drop_before_release, scenarios.release_that_arrives_late),
    Guard(decisions.no_observed_stop, scenarios.move_there_and_back),
    Guard(effects.no_stop_check, stories.stop_that_fails),
    Guard(decisions.no_release_epoch, scenarios.move_there_and_back),
    Guard(decisions.no_proof, scenarios.isolated_owner),
    Guard(decisions.no_boot_coverage, scenarios.crash_of_the_owner),
    Guard(decisions.no_confirm_checks, scenarios.dead_bmc_until_a_person_confirms),
    Guard(decisions.no_agreement, stories.one_deaf_coordinator),
    Guard(decisions.no_challenge, stories.heartbeats_alone_are_cut),
    Guard(decisions.no_quorum_without_victim, stories.fence_that_would_end_the_store),
    Guard(decisions.no_single_slot, stories.two_at_once, 5),
    Guard(decisions.no_valid_until, stories.executor_that_wakes_too_late, 5),
    Guard(decisions.no_executor_incarnation, stories.restarted_executor_finds_an_old_intent),
    Guard(effects.no_read_back, scenarios.bmc_says_off_while_the_addresses_answer),
    Guard(decisions.no_address_probe, scenarios.bmc_says_off_while_the_addresses_answer),
    Guard(decisions.no_heartbeat_cross_check, scenarios.operator_fences_through_a_lying_bmc),
    Guard(effects.no_guid_check, stories.bmc_of_another_server),
    Guard(effects.no_listening, scenarios.operator_fences_a_healthy_server),
    Guard(effects.no_decider_compares, stories.deposed_while_its_decision_travels),
    Guard(effects.no_record_compares, stories.decision_that_arrives_again),
    Guard(decisions.no_startup_barrier, scenarios.slow_return_after_a_power_loss),
    Guard(decisions.no_self_stop, stories.alone_without_a_bmc),
    Guard(decisions.no_dead_man, stories.alone_with_a_hanging_agent),
    Guard(decisions.no_reboot_limit, stories.sick_wherever_it_runs),
)

STORIES: tuple[tuple[Story, int], ...] = (
    (stories.heartbeats_alone_are_cut, 3),
    (stories.one_deaf_coordinator, 3),
    (stories.executor_that_wakes_too_late, 5),
    (stories.restarted_executor_finds_an_old_intent, 3),
    (stories.second_executor_hears_late_of_its_intent, 3),
    (stories.fence_that_would_end_the_store, 3),
    (stories.decision_that_arrives_again, 3),
    (stories.deposed_while_its_decision_travels, 3),
    (stories.stop_that_fails, 3),
    (stories.session_on_old_knowledge, 3),
    (stories.quick_restart, 3),
    (stories.alone_without_a_bmc, 3),
    (stories.alone_with_a_hanging_agent, 3),
    (stories.start_without_a_pulse, 3),
    (stories.start_after_a_pause, 3),
    (stories.last_moments_of_a_proof, 3),
    (stories.two_at_once, 5),
    (stories.bmc_of_another_server, 3),
    (stories.sick_wherever_it_runs, 3),
)


@contextmanager
def without(guard: Guard) -> Iterator[None]:
    """The product without this guard."""
    with pytest.MonkeyPatch.context() as patch:
        guard.off(patch)
        yield


def catch(guard: Guard) -> Caught:
    """Play until something notices that the guard is missing."""
    for seed in guard.seeds:
        with without(guard):
            outcome = run_seed(seed) if guard.story is None else play(seed, guard.story, guard.size)
        if outcome.violation is not None:
            what = "chaos" if guard.story is None else getattr(guard.story, "__name__", "story")
            return Caught(guard, outcome.violation, f"{what}, seed {seed}")
    return Caught(guard, None, "")
