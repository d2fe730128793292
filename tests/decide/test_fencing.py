"""From suspicion to proof: nobody is fenced without silence, an unanswered challenge and quorum."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide.actions import AskMembers, ExecuteFence, PowerOn, PrepareFence
from reconciler.decide.fence_attempts import RETRY_FIRST_S, RETRY_LAST_S, is_tried, retry_at
from reconciler.decide.fencing import Suspicion, suspicion
from reconciler.decide.records import FenceOutcome, OperationKind, OperationPhase
from reconciler.decide.snapshot import LocalFence, LocalProbe
from tests.decide.build import KEYS, NOW, Scene, agent, boot, intent, written


def dying(**spec: Any) -> Scene:
    """n3 owns web and went silent a second ago."""
    return Scene().own("n3").silence("n3")


# -- detection -------------------------------------------------------------------------------


def test_a_suspect_is_challenged_at_two_missed_heartbeats() -> None:
    decision = Scene().own("n3").suspect("n3").decide()
    assert written(decision, KEYS.challenge("n3")).challenger == "n1"
    assert intent(decision) is None
    assert PrepareFence("n3") in decision.effects


def test_no_intent_before_the_challenge_had_its_time() -> None:
    assert intent(dying().challenge("n3", age=0.14).decide()) is None
    assert intent(dying().challenge("n3", age=0.16).decide()) is not None


def test_a_challenge_from_before_the_silence_is_no_challenge() -> None:
    scene = Scene().own("n3").silence("n3", since=0.3).challenge("n3", age=1.0)
    decision = scene.decide()
    assert intent(decision) is None
    assert written(decision, KEYS.challenge("n3")) is not None


def test_an_answer_through_the_store_saves_from_the_fence() -> None:
    scene = dying().challenge("n3").answer("n3")
    assert suspicion(scene.snapshot(), "n3") is Suspicion.ANSWERS_THROUGH_STORE
    assert intent(scene.decide()) is None


def test_an_answer_to_another_challenge_saves_nobody() -> None:
    scene = dying().challenge("n3", nonce="c2").answer("n3", nonce="c1")
    assert intent(scene.decide()) is not None


def test_an_answer_from_before_this_agent_began_saves_nobody() -> None:
    """A new agent finds an old challenge with its answer, and sees both for the first time now."""
    scene = dying().challenge("n3").answer("n3").session("n1")
    assert suspicion(scene.snapshot(), "n3") is Suspicion.WAITING_FOR_ANSWER
    assert written(scene.decide(), KEYS.challenge("n3")) is not None


def test_who_answered_is_challenged_again_after_a_while() -> None:
    scene = Scene().own("n3").silence("n3", since=8).challenge("n3", age=5.1).answer("n3")
    assert written(scene.decide(), KEYS.challenge("n3")) is not None


def test_a_server_that_any_reachable_server_hears_is_not_fenced() -> None:
    scene = Scene().own("n3").silence("n3", agreed=False).challenge("n3")
    assert intent(scene.decide()) is None


def test_a_server_on_which_nothing_depends_is_left_alone() -> None:
    scene = Scene().own("n1").silence("n3").no_session("n3").challenge("n3")
    decision = scene.decide()
    assert not decision.writes
    assert not decision.own_writes


def test_a_heard_server_without_session_is_not_fenced_under_keep() -> None:
    scene = Scene().own("n3").no_session("n3").challenge("n3")
    assert intent(scene.decide()) is None


def cold(elapsed: float) -> Scene:
    """n1 and n2 are back from a power loss; n3 owned web, and nothing was heard of it yet."""
    scene = Scene().own("n3", boot_id=boot("n3", 0)).no_session("n3").never_heard("n3")
    scene.cluster["startupBarrier"] = f"{100 + 60 - elapsed}s"  # n1 has led for 100 s
    return scene.challenge("n3")


def test_at_a_cold_start_who_was_not_heard_yet_is_waited_for() -> None:
    assert intent(cold(elapsed=30).decide()) is None
    assert intent(cold(elapsed=61).decide()) is not None


def test_at_a_cold_start_who_was_heard_and_fell_silent_is_fenced() -> None:
    assert intent(cold(elapsed=30).silence("n3").challenge("n3").decide()) is not None


def test_in_a_running_cluster_who_was_never_heard_is_fenced() -> None:
    """The looker was restarted; the others run groups, so this is no cold start."""
    scene = cold(elapsed=30).group("db").own("n1", "db")
    assert intent(scene.decide()) is not None


# -- obstacles -------------------------------------------------------------------------------


def reasons(scene: Scene) -> str:
    verdict = written(scene.decide(), KEYS.verdict("web"))
    return " ".join(verdict.reasons) if verdict else ""


def test_no_fence_that_would_lose_the_stores_quorum() -> None:
    scene = dying().challenge("n3").members_answer("n1", "n3")
    assert intent(scene.decide()) is None
    assert "would lose the store's quorum" in reasons(scene)


def test_the_victims_own_member_never_counts() -> None:
    scene = dying().challenge("n3").members_answer("n1", "n2")
    assert intent(scene.decide()) is not None


def test_answers_of_members_must_be_fresh() -> None:
    scene = dying().challenge("n3")
    scene.at(0)
    scene.now += 1.5
    scene.challenge("n3").silence("n3")
    decision = scene.decide()
    assert intent(decision) is None
    assert AskMembers() in decision.effects


def test_without_a_fence_device_the_group_is_blocked_with_the_reason() -> None:
    scene = dying().server("n3", levels=0).challenge("n3")
    assert intent(scene.decide()) is None
    assert "n3 has no fence device" in reasons(scene)


def test_one_fence_at_a_time() -> None:
    servers = ("n1", "n2", "n3", "n4", "n5")
    scene = Scene(servers=servers).own("n3").silence("n3").silence("n4")
    scene.challenge("n3").challenge("n4").group("db").own("n4", "db")
    assert intent(scene.decide()).victim == "n3"  # type: ignore[union-attr]
    scene.slot("n3")
    assert intent(scene.decide()) is None
    verdict = written(scene.decide(), KEYS.verdict("db"))
    assert "a fence of n3 is in progress" in verdict.reasons


def test_a_closed_or_long_expired_slot_is_free() -> None:
    assert intent(dying().challenge("n3").slot("n2", closed=True).decide()) is not None
    assert intent(dying().challenge("n3").slot("n2", age=12).decide()) is None
    freed = dying().challenge("n3").slot("n2", age=13).decide()
    assert written(freed, KEYS.fence_slot).closed
    failed = written(freed, KEYS.fence("n2"))
    assert (failed.outcome, "told no end" in failed.detail) == (FenceOutcome.FAILED, True)


def test_who_told_no_end_of_an_attempt_is_not_asked_again_at_once() -> None:
    scene = dying().challenge("n3").slot("n3", "n1", age=13, executor_incarnation=agent("n1", 0))
    record = written(scene.decide(), KEYS.fence("n3"))
    assert record is not None
    scene.put("fences", "n3", record, age=0.0).slot("n3", closed=True)
    found = intent(scene.decide())
    assert found is not None
    assert (found.executor, found.attempt) == ("n2", 2)


def test_what_was_proven_is_kept_when_an_attempt_is_given_up() -> None:
    scene = dying().challenge("n3").slot("n3", "n2", age=13).fenced("n3")
    assert written(scene.decide(), KEYS.fence_slot).closed
    assert written(scene.decide(), KEYS.fence("n3")) is None


def test_the_intent_compares_the_slot_as_it_was_seen() -> None:
    scene = dying().challenge("n3").slot("n2", closed=True)
    write = next(w for w in scene.decide().writes if w.key == KEYS.fence_slot)
    assert scene.fence_slot is not None
    assert write.expected == scene.fence_slot.mod_revision


def test_the_intent_covers_every_boot_that_something_depends_on() -> None:
    scene = dying().group("db").own("n3", "db", boot_id=boot("n3", 0)).challenge("n3")
    assert intent(scene.decide()).covers == (boot("n3", 0), boot("n3", 1))  # type: ignore[union-attr]


# -- attempts --------------------------------------------------------------------------------


def failing(attempts: int, age: float, levels: int = 2) -> Scene:
    scene = dying().silence("n3", since=age + 1).server("n3", levels=levels).challenge("n3")
    return scene.fenced("n3", FenceOutcome.FAILED, attempt=attempts, age=age, detail="no answer")


@pytest.mark.parametrize(
    ("failed", "executor", "level"),
    [(1, "n2", 0), (2, "n1", 1), (3, "n2", 1), (4, "n1", 0), (5, "n2", 0)],
)
def test_attempts_go_through_the_executors_then_through_the_levels(
    failed: int, executor: str, level: int
) -> None:
    found = intent(failing(failed, age=RETRY_LAST_S).decide())
    assert found is not None
    assert (found.executor, found.level, found.attempt) == (executor, level, failed + 1)
    assert found.executor_incarnation == agent(executor)


def test_a_round_goes_on_at_once_and_a_full_round_pauses() -> None:
    assert intent(failing(1, age=0.0).decide()) is not None
    assert intent(failing(4, age=RETRY_FIRST_S - 0.1).decide()) is None
    assert intent(failing(4, age=RETRY_FIRST_S).decide()) is not None


def test_pauses_double_up_to_a_bound() -> None:
    def pause(failed: int) -> float:
        scene = failing(failed, age=0.0)
        return retry_at(scene.snapshot(), "n3") - scene.now

    assert [pause(n) for n in (4, 8, 12)] == [5.0, 10.0, 20.0]
    assert pause(4 * 40) == RETRY_LAST_S


def test_while_it_pauses_the_group_is_blocked_and_says_why() -> None:
    assert "fencing n3 failed 4 times: no answer" in reasons(failing(4, age=1.0))


def test_failures_of_an_earlier_boot_do_not_count() -> None:
    scene = dying().challenge("n3")
    scene.fenced("n3", FenceOutcome.FAILED, covers=(boot("n3", 0),), attempt=9, age=0.0)
    assert intent(scene.decide()).attempt == 1  # type: ignore[union-attr]


def test_failures_of_an_earlier_silence_delay_nothing() -> None:
    """Its BMC failed while it was away; it came back, and dies a second time."""
    again = failing(8, age=2.0).silence("n3", since=1.0).challenge("n3")
    assert intent(again.decide()).attempt == 1  # type: ignore[union-attr]
    assert intent(failing(8, age=2.0).no_session("n3").decide()) is None
    assert intent(again.no_session("n3").decide()) is None, "it never got well"


# -- execution -------------------------------------------------------------------------------


def test_the_named_executor_executes_whatever_its_role() -> None:
    scene = Scene(me="n2").own("n3").silence("n3").slot("n3", executor="n2")
    effect = next(e for e in scene.decide().effects if isinstance(e, ExecuteFence))
    assert effect.intent.victim == "n3"
    assert not Scene(me="n2").slot("n3").decide().effects


def test_a_restarted_executor_does_not_execute() -> None:
    """It does not know when the intent was stored."""
    scene = Scene(me="n2").slot("n3", "n2", executor_incarnation=agent("n2", 0))
    assert not scene.decide().effects


def executes(scene: Scene) -> bool:
    return any(isinstance(effect, ExecuteFence) for effect in scene.decide().effects)


def test_an_intent_is_executed_while_it_is_valid() -> None:
    assert executes(Scene().silence("n3").slot("n3", age=9.9))
    assert not executes(Scene().silence("n3").slot("n3", age=10.1))


def test_an_intent_of_another_server_is_claimed_before_anything_is_sent() -> None:
    """It may have been on its way for longer than it is valid: the claim proves that it stands."""
    scene = Scene(me="n2").silence("n3").slot("n3", executor="n2", counts_from=None)
    decision = scene.decide()
    assert not executes(scene)
    claim = next(w for w in decision.own_writes if w.key == KEYS.fence_slot)
    assert claim.record.counts_from == NOW  # type: ignore[union-attr]
    assert scene.fence_slot is not None
    assert claim.expected == scene.fence_slot.mod_revision
    late = Scene(me="n2").silence("n3").slot("n3", executor="n2", counts_from=None, age=5.1)
    assert not late.decide().own_writes


def test_a_victim_that_is_heard_again_is_not_fenced_late() -> None:
    scene = Scene(me="n2").slot("n3", executor="n2", counts_from=None)
    assert not executes(scene)
    record = written(scene.decide(), KEYS.fence("n3"))
    assert (record.outcome, record.detail[:17]) == ("failed", "n3 is heard again")
    assert executes(Scene().slot("n3"))  # it was claimed: a packet may be on its way
    asked = Scene(me="n2").slot("n3", "n2", counts_from=None, reason="asked by an operator")
    assert [w.key for w in asked.decide().own_writes] == [KEYS.fence_slot]


def test_a_closed_slot_is_not_executed() -> None:
    assert not Scene().slot("n3", closed=True).decide().effects


def test_the_executor_probes_the_addresses_of_the_victims_groups() -> None:
    scene = Scene().own("n3").silence("n3").slot("n3")
    scene.resource("ip", address="10.0.0.100").group("db").own("n1", "db")
    scene.resource("other", group="db", address="10.0.0.101")
    effect = next(e for e in scene.decide().effects if isinstance(e, ExecuteFence))
    assert effect.probe_addresses == ("10.0.0.100",)


def executed(outcome: FenceOutcome, after: str = "on") -> Scene:
    scene = dying().server("n3", after=after).slot("n3")
    scene.local_fences["intent"] = LocalFence(outcome, "it said so", "guid-n3")
    return scene


def test_the_result_is_stored_and_the_slot_closed_together() -> None:
    decision = executed(FenceOutcome.CONFIRMED_OFF).decide()
    keys = [w.key for w in decision.writes]
    assert keys[:2] == [KEYS.fence("n3"), KEYS.fence_slot]
    record = decision.writes[0].record
    assert (record.outcome, record.covers) == ("confirmed-off", (boot("n3"),))  # type: ignore[union-attr]
    assert decision.writes[1].record.closed  # type: ignore[union-attr]


def test_a_confirmed_fence_moves_the_group_in_the_same_transaction() -> None:
    found = written(executed(FenceOutcome.CONFIRMED_OFF).decide(), KEYS.group("web"))
    assert (found.owner, found.epoch, found.proof) == ("n1", 2, "fenced")


@pytest.mark.parametrize("outcome", [FenceOutcome.FAILED, FenceOutcome.CONTRADICTED])
def test_a_failed_or_contradicted_fence_moves_nothing(outcome: FenceOutcome) -> None:
    scene = executed(outcome)
    decision = scene.decide()
    assert written(decision, KEYS.group("web")) is None
    assert not written(decision, KEYS.fence("n3")).proves_off
    assert written(scene.store(decision).decide(), KEYS.group("web")) is None


def test_a_fenced_server_is_powered_on_once_and_only_if_its_spec_says_so() -> None:
    scene = executed(FenceOutcome.CONFIRMED_OFF)
    scene.store(scene.decide())
    decision = scene.decide()
    assert [e.server for e in decision.after_commit if isinstance(e, PowerOn)] == ["n3"]
    assert scene.store(decision).decide().after_commit == ()
    stay_off = executed(FenceOutcome.CONFIRMED_OFF, after="stay-off")
    assert stay_off.store(stay_off.decide()).decide().after_commit == ()


@pytest.mark.parametrize("outcome", [FenceOutcome.CONFIRMED_OFF, FenceOutcome.FAILED])
def test_an_operators_fence_is_tried_each_way_once_whatever_comes_of_it(
    outcome: FenceOutcome,
) -> None:
    """Else the server would be powered off once more after the command had ended."""
    scene = (
        Scene().own("n1").operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    )
    scene.fenced("n3", outcome, attempt=2)  # by n1 and by n2
    assert intent(scene.decide()) is None


def test_an_operators_fence_goes_on_to_the_next_server_and_level() -> None:
    scene = Scene().server("n3", levels=2).own("n1")
    scene.operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    ways = []
    for attempt in range(1, 4):
        scene.fenced("n3", FenceOutcome.FAILED, attempt=attempt)
        found = intent(scene.decide())
        assert found is not None
        ways.append((found.executor, found.level))
    assert ways == [("n2", 0), ("n1", 1), ("n2", 1)]
    scene.fenced("n3", FenceOutcome.FAILED, attempt=4)
    assert intent(scene.decide()) is None


def test_an_operators_fence_does_not_end_while_an_attempt_is_under_way() -> None:
    """It may still work: then the server is off, and nobody was told."""
    scene = Scene().own("n1").silence("n2")
    scene.operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    scene.fenced("n3", FenceOutcome.FAILED, attempt=1)  # by the only server that was there
    assert is_tried(scene.snapshot(), "n3", 0)
    scene.slot("n3", executor="n2", attempt=2)
    assert not is_tried(scene.snapshot(), "n3", 0)
    assert is_tried(scene.fenced("n3", attempt=2).snapshot(), "n3", 0)


def test_members_are_asked_for_an_operators_fence_too() -> None:
    """In a healthy cluster nobody else asks them, and a fence needs to know the quorum."""
    scene = Scene().own("n3").members_answer()
    scene.operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    decision = scene.decide()
    assert AskMembers() in decision.effects
    assert decision.wake_at is not None


def test_a_device_that_failed_is_prepared_again_only_when_an_attempt_is_near() -> None:
    assert PrepareFence("n3") not in failing(8, age=1.0).decide().effects
    assert PrepareFence("n3") in failing(8, age=9.5).decide().effects


def test_power_on_waits_for_a_confirmation_that_writes_the_same_record() -> None:
    """A store takes no transaction that writes one key twice."""
    scene = Scene().own("n3", boot_id=boot("n3", 0)).no_session("n3").silence("n3")
    scene.fenced("n3", power_on_due=True)
    scene.operation(OperationKind.CONFIRM_FENCE, "server/n3", boot_id=boot("n3", 0))
    scene.local_probes["01"] = LocalProbe()
    keys = [write.key for write in scene.decide().writes]
    assert len(keys) == len(set(keys))


def test_an_intent_that_arrives_late_spares_a_server_that_came_back_meanwhile() -> None:
    scene = dying().challenge("n3", age=0.2)
    write = next(w for w in scene.decide().writes if w.key == KEYS.fence_slot)
    session = scene.tables["sessions"]["n3"].mod_revision
    assert write.depends == ((KEYS.session("n3"), session), (KEYS.answer("n3"), 0))


def test_a_member_that_answered_before_its_server_was_switched_off_counts_no_more() -> None:
    scene = Scene().own("n1").members_answer("n1", "n2", "n3")
    scene.operation(OperationKind.FENCE, "server/n2", phase=OperationPhase.RUNNING)
    assert intent(scene.fenced("n3", age=1.0).decide()) is not None  # it is on again and answers
    assert intent(scene.fenced("n3", age=0.005).decide()) is None


def test_a_member_whose_server_fell_silent_after_its_answer_counts_no_more() -> None:
    scene = Scene().own("n1").members_answer("n1", "n2", "n3")
    scene.operation(OperationKind.FENCE, "server/n2", phase=OperationPhase.RUNNING)
    assert intent(scene.silence("n3", since=1.0).decide()) is not None  # its heartbeats alone
    assert intent(scene.silence("n3", since=0.005).decide()) is None


def test_a_coordinator_that_is_to_be_fenced_writes_its_intent_and_nothing_with_it() -> None:
    scene = Scene().own("n1").own(None, group="db")
    scene.group("db")
    assert [w.key for w in scene.decide().writes if w.key == KEYS.group("db")]  # else it is granted
    scene.operation(OperationKind.FENCE, "server/n1", phase=OperationPhase.RUNNING)
    assert [write.key for write in scene.decide().writes] == [KEYS.fence_slot]


def test_an_operators_fence_needs_no_suspicion_but_quorum() -> None:
    scene = (
        Scene().own("n3").operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    )
    assert intent(scene.decide()).reason == "asked by an operator"  # type: ignore[union-attr]
    assert intent(scene.members_answer("n3").decide()) is None


def test_an_attempt_after_years_of_failures_is_still_planned() -> None:
    """2.0 ** 1024 is an OverflowError: it ended every agent after four days of a dead BMC."""
    assert retry_at(failing(100_000, age=1.0).snapshot(), "n3") == NOW - 1.0 + RETRY_LAST_S


def test_a_deputy_deposes_the_coordinator_although_another_server_is_dead_too() -> None:
    scene = Scene(me="n2", servers=("n1", "n2", "n3", "n4", "n5")).lead("n3").own("n1")
    scene.silence("n1").silence("n3").challenge("n1").challenge("n3")
    scene.members_answer("n2", "n4", "n5")
    decision = scene.decide()
    assert decision.take_coordinator
    assert intent(decision).victim == "n3"  # type: ignore[union-attr]


def test_an_executor_whose_session_is_not_proven_powers_nobody_off() -> None:
    scene = Scene().own("n3").silence("n3").slot("n3")
    assert any(isinstance(e, ExecuteFence) for e in scene.decide().effects)
    own = scene.own_session
    assert own is not None
    scene.own_session = replace(own, valid_until=NOW)
    assert not any(isinstance(e, ExecuteFence) for e in scene.decide().effects)


def test_an_intent_whose_executor_is_gone_is_closed_when_its_time_is_over() -> None:
    """Else it is shown for ever as a fence in progress: found by a power loss of all."""
    scene = Scene().slot("n3", "n2", executor_incarnation=agent("n2", 0), age=13)
    write = next(w for w in scene.decide().writes if w.key == KEYS.fence_slot)
    assert write.record.closed
    assert scene.fence_slot is not None
    assert write.expected == scene.fence_slot.mod_revision
    assert write.reason is not None
    assert write.reason.name == "fence_abandoned"
    assert "fence_failed" not in [w.reason.name for w in scene.decide().writes if w.reason]
    assert not [w for w in scene.slot("n3", age=12).decide().writes if w.key == KEYS.fence_slot]


def test_an_intent_whose_executor_has_rebooted_is_closed_at_once() -> None:
    """Servers lose their power one after the other: the last ones still ask for a fence of the
    first, which had no session for 12 s of the next start."""
    of_before = {"executor_incarnation": agent("n2", 0), "executor_boot": boot("n2", 0)}
    scene = Scene(me="n3").lead("n3").slot("n1", "n2", **of_before)
    write = next(w for w in scene.decide().writes if w.key == KEYS.fence_slot)
    assert write.record.closed
    same = {"executor_incarnation": agent("n2", 0), "executor_boot": boot("n2")}
    scene.slot("n1", "n2", **same)  # only its agent: a fence program may have outlived that
    assert not [w for w in scene.decide().writes if w.key == KEYS.fence_slot]


def test_an_intent_names_the_boot_of_its_executor() -> None:
    assert intent(dying().challenge("n3").decide()).executor_boot == boot("n1")  # type: ignore[union-attr]


def deaf_owner() -> Scene:
    """Of n3 everything is heard, and it says that it hears nobody."""
    return Scene().own("n3").hear("n3", sees=("n1", "n2"))


def test_an_owner_that_hears_nobody_is_asked_and_fenced_without_an_answer() -> None:
    """Else it stops what it runs after D, and nobody else starts it before its session ends."""
    decision = deaf_owner().decide()
    assert written(decision, KEYS.challenge("n3")).deaf
    assert intent(decision) is None
    assert intent(deaf_owner().challenge("n3", age=0.9, deaf=True).decide()) is None
    found = intent(deaf_owner().challenge("n3", age=1.1, deaf=True).decide())
    assert found is not None
    assert "hears no majority" in found.reason


def test_a_deaf_owner_is_spared_by_its_answer_by_one_that_it_hears_and_by_an_older_question() -> (
    None
):
    answered = deaf_owner().challenge("n3", age=1.1, deaf=True).answer("n3")
    assert intent(answered.decide()) is None
    hears = Scene().own("n3").hear("n3", sees=("n1",)).challenge("n3", age=1.1, deaf=True)
    assert intent(hears.decide()) is None
    asked_when_silent = deaf_owner().challenge("n3", age=1.1).decide()
    assert intent(asked_when_silent) is None
    assert written(asked_when_silent, KEYS.challenge("n3")).deaf


def test_a_deaf_coordinator_is_deposed_by_its_deputy() -> None:
    scene = deaf_owner().lead("n3").challenge("n3", age=1.1, deaf=True)
    decision = scene.decide()
    assert intent(decision) is not None
    assert decision.take_coordinator
    assert intent(scene.answer("n3").decide()) is None
