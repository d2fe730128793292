"""What follows from an intent: who tries which way and when, who executes it, what comes of it."""

from dataclasses import replace

import pytest

from reconciler.decide.actions import ExecuteFence, PowerOn, PrepareFence
from reconciler.decide.fence_attempts import RETRY_FIRST_S, RETRY_LAST_S, is_tried, retry_at
from reconciler.decide.records import FenceOutcome, OperationKind, OperationPhase
from reconciler.decide.snapshot import LocalFence, LocalProbe
from tests.decide.build import KEYS, NOW, Scene, agent, boot, dying, intent, reasons, written


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


def test_an_attempt_after_years_of_failures_is_still_planned() -> None:
    """2.0 ** 1024 is an OverflowError: it ended every agent after four days of a dead BMC."""
    assert retry_at(failing(100_000, age=1.0).snapshot(), "n3") == NOW - 1.0 + RETRY_LAST_S


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
