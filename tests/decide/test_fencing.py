"""From suspicion to intent: nobody is fenced but for silence, without an answer, with quorum."""

from reconciler.decide.actions import AskMembers, PrepareFence
from reconciler.decide.fencing import Suspicion, suspicion
from reconciler.decide.records import FenceOutcome, OperationKind, OperationPhase
from tests.decide.build import KEYS, Scene, agent, boot, dying, intent, reasons, written

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


def test_members_are_asked_for_an_operators_fence_too() -> None:
    """In a healthy cluster nobody else asks them, and a fence needs to know the quorum."""
    scene = Scene().own("n3").members_answer()
    scene.operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    decision = scene.decide()
    assert AskMembers() in decision.effects
    assert decision.wake_at is not None


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


def test_a_deputy_deposes_the_coordinator_although_another_server_is_dead_too() -> None:
    scene = Scene(me="n2", servers=("n1", "n2", "n3", "n4", "n5")).lead("n3").own("n1")
    scene.silence("n1").silence("n3").challenge("n1").challenge("n3")
    scene.members_answer("n2", "n4", "n5")
    decision = scene.decide()
    assert decision.take_coordinator
    assert intent(decision).victim == "n3"  # type: ignore[union-attr]


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
