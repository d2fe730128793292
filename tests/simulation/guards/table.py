"""Which story, or which seeds of chaos, need which guard; read by the test and by `__main__`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.simulation import scenarios
from tests.simulation.chaos import run_seed
from tests.simulation.guards import clockwork, decisions, effects, stories
from tests.simulation.guards import clockwork_stories as own
from tests.simulation.play import Story, play
from tests.simulation.test_holding import held_and_cut_off
from tests.simulation.variants import PLAIN, Variant

Switch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Guard:
    """`story` None: chaos, `seeds` of it. `size`: servers of the story; `variant`: what it has."""

    off: Switch
    story: Story | None
    size: int = 3
    variant: Variant = PLAIN
    seeds: range = range(1, 6)

    @property
    def name(self) -> str:
        return self.off.__name__.removeprefix("no_").replace("_", " ")

    @property
    def promise(self) -> str:
        return " ".join((self.off.__doc__ or "").split())


@dataclass(frozen=True, slots=True)
class Caught:
    """What noticed that a guard was missing, and the seed that it was played with."""

    guard: Guard
    violation: str | None
    where: str
    seed: int | None = None


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
    Guard(decisions.no_question_to_the_deaf, stories.hears_nobody_but_has_the_store),
    Guard(decisions.no_quorum_without_victim, stories.fence_that_would_end_the_store),
    Guard(decisions.no_single_slot, stories.two_at_once, 5),
    Guard(decisions.no_valid_until, stories.executor_that_wakes_too_late, 5),
    Guard(decisions.no_last_question, stories.executor_that_stood_still, 5),
    Guard(decisions.no_executor_incarnation, stories.restarted_executor_finds_an_old_intent),
    Guard(effects.no_read_back, scenarios.bmc_says_off_while_the_addresses_answer),
    Guard(decisions.no_address_probe, scenarios.bmc_says_off_while_the_addresses_answer),
    Guard(decisions.no_heartbeat_cross_check, scenarios.operator_fences_through_a_lying_bmc),
    Guard(effects.no_guid_check, stories.bmc_of_another_server),
    Guard(effects.no_listening, scenarios.operator_fences_a_healthy_server),
    Guard(effects.no_decider_compares, stories.deposed_while_its_decision_travels),
    Guard(effects.no_record_compares, stories.decision_that_arrives_again),
    Guard(decisions.no_startup_barrier, own.back_one_by_one),
    Guard(decisions.no_self_stop, stories.alone_without_a_bmc),
    Guard(decisions.no_dead_man, stories.alone_with_a_hanging_agent),
    Guard(decisions.no_reboot_limit, stories.sick_wherever_it_runs),
    Guard(clockwork.no_expiry_arithmetic, own.gone_with_a_slow_clock, variant=own.WATCHED),
    Guard(clockwork.no_wait_for_the_watchdog, own.gone_and_unreachable, variant=own.WATCHED),
    Guard(clockwork.no_hold_of_the_pulse, own.hangs_right_after_a_start, variant=own.WATCHED),
    Guard(clockwork.no_bound_by_grants, own.longer_terms, variant=own.WATCHED),
    Guard(clockwork.no_feeding_rule, own.cannot_be_killed, variant=own.WATCHED),
    Guard(clockwork.no_stop_by_the_pulse, own.must_stop_without_the_store, variant=own.STOPPING),
    Guard(clockwork.no_stop_in_order, own.must_stop_without_the_store, variant=own.STOPPING),
    Guard(clockwork.no_policy_of_the_grant, own.policy_that_was_granted, variant=own.STOPPING),
    Guard(clockwork.no_isolation_grace, own.late_heartbeats_without_the_store),
    Guard(clockwork.no_mailbox_rule, own.mailbox_out_of_reach, variant=own.MAILBOX),
    Guard(clockwork.no_inherited_promise, own.new_pulse_without_its_disk, variant=own.MAILBOX),
    Guard(clockwork.no_pill_found, own.pill_by_an_operator, variant=own.MAILBOX),
    Guard(clockwork.no_disk_delay, own.last_words_on_the_disk, variant=own.DISKS),
    Guard(clockwork.no_exclusion, own.alone_on_a_server, variant=own.EXCLUSIVE),
    Guard(clockwork.no_generation, own.an_old_backup, variant=own.RESTORED),
    Guard(clockwork.no_doubt, own.an_old_backup, variant=own.RESTORED),
    Guard(
        clockwork.no_waiting_for_the_doubted,
        own.an_old_backup_and_one_is_away,
        variant=own.RESTORED,
    ),
    Guard(clockwork.no_stretch, held_and_cut_off),
)

STORIES: tuple[tuple[Story, int, Variant], ...] = (
    (stories.heartbeats_alone_are_cut, 3, PLAIN),
    (stories.hears_nobody_but_has_the_store, 3, PLAIN),
    (stories.nothing_reaches_the_owner, 3, PLAIN),
    (stories.one_deaf_coordinator, 3, PLAIN),
    (stories.executor_that_wakes_too_late, 5, PLAIN),
    (stories.executor_that_stood_still, 5, PLAIN),
    (stories.restarted_executor_finds_an_old_intent, 3, PLAIN),
    (stories.second_executor_hears_late_of_its_intent, 3, PLAIN),
    (stories.fence_that_would_end_the_store, 3, PLAIN),
    (stories.decision_that_arrives_again, 3, PLAIN),
    (stories.deposed_while_its_decision_travels, 3, PLAIN),
    (stories.stop_that_fails, 3, PLAIN),
    (stories.session_on_old_knowledge, 3, PLAIN),
    (stories.quick_restart, 3, PLAIN),
    (stories.alone_without_a_bmc, 3, PLAIN),
    (stories.alone_with_a_hanging_agent, 3, PLAIN),
    (stories.start_without_a_pulse, 3, PLAIN),
    (stories.start_after_a_pause, 3, PLAIN),
    (stories.last_moments_of_a_proof, 3, PLAIN),
    (stories.two_at_once, 5, PLAIN),
    (stories.bmc_of_another_server, 3, PLAIN),
    (stories.sick_wherever_it_runs, 3, PLAIN),
    (own.gone_and_unreachable, 3, own.WATCHED),
    (own.gone_with_a_slow_clock, 3, own.WATCHED),
    (own.hangs_right_after_a_start, 3, own.WATCHED),
    (own.cannot_be_killed, 3, own.WATCHED),
    (own.longer_terms, 3, own.WATCHED),
    (own.must_stop_without_the_store, 3, own.STOPPING),
    (own.policy_that_was_granted, 3, own.STOPPING),
    (own.late_heartbeats_without_the_store, 3, PLAIN),
    (own.mailbox_out_of_reach, 3, own.MAILBOX),
    (own.new_pulse_without_its_disk, 3, own.MAILBOX),
    (own.pill_by_an_operator, 3, own.MAILBOX),
    (own.heard_on_the_disk_only, 3, own.DISKS),
    (own.last_words_on_the_disk, 3, own.DISKS),
    (own.alone_on_a_server, 3, own.EXCLUSIVE),
    (own.back_one_by_one, 3, PLAIN),
    (own.an_old_backup, 3, own.RESTORED),
    (own.an_old_backup_and_one_is_away, 3, own.RESTORED),
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
            outcome = (
                run_seed(seed)
                if guard.story is None
                else play(seed, guard.story, guard.size, guard.variant)
            )
        if outcome.violation is not None:
            what = "chaos" if guard.story is None else getattr(guard.story, "__name__", "story")
            return Caught(guard, outcome.violation, what, seed)
    return Caught(guard, None, "")
