"""A person has a server fenced, or says that it is off: each wish ends as done or failed."""

from typing import Any

import pytest

from reconciler.decide.actions import ProbeAddresses
from reconciler.decide.records import FenceOutcome, OperationKind, OperationPhase
from reconciler.decide.snapshot import LocalFence, LocalProbe
from tests.decide.build import KEYS, Scene, boot, granted, result, verdict, written

FENCE, CONFIRM = OperationKind.FENCE, OperationKind.CONFIRM_FENCE


RUNNING, DONE, FAILED = OperationPhase.RUNNING, OperationPhase.DONE, OperationPhase.FAILED


def test_an_operators_fence_tries_every_way_and_reports_what_came_of_it() -> None:
    scene = Scene().own("n1").operation(FENCE, "server/n3")
    assert result(scene.decide()) == (RUNNING, "")
    scene.store(scene.decide())
    scene.fenced("n3", FenceOutcome.FAILED, detail="no answer", attempt=1)
    assert result(scene.decide()) is None  # n2 has not tried
    scene.fenced("n3", FenceOutcome.FAILED, detail="no answer", attempt=2)
    assert result(scene.decide()) == (FAILED, "n3: no answer")


def test_an_older_fence_is_not_the_result_of_a_newer_wish() -> None:
    scene = Scene().own("n1").fenced("n3", FenceOutcome.FAILED, covers=())
    scene.operation(FENCE, "server/n3", phase=RUNNING)
    assert result(scene.decide()) is None


@pytest.mark.parametrize(
    ("scene", "sentence"),
    [
        (Scene().server("n3", levels=0), "n3 has no fence device"),
        (Scene(), None),
    ],
)
def test_a_fence_that_cannot_be_is_refused(scene: Scene, sentence: str | None) -> None:
    decision = scene.own("n1").operation(FENCE, "server/n3").decide()
    assert result(decision) == ((FAILED, sentence) if sentence else (RUNNING, ""))


def test_another_server_executes_the_fence_of_the_coordinator() -> None:
    scene = Scene().own("n1").members_answer("n1", "n2", "n3")
    decision = scene.operation(FENCE, "server/n1", phase=RUNNING).decide()
    slot = written(decision, KEYS.fence_slot)
    assert (slot.victim, slot.executor) == ("n1", "n2")


def test_a_fence_that_nobody_can_execute_or_of_nothing_is_refused() -> None:
    alone = Scene().own("n1").no_session("n2").no_session("n3")
    decision = alone.operation(FENCE, "server/n1").decide()
    assert result(decision) == (FAILED, "no other server is here to fence n1")
    decision = Scene().own("n1").operation(FENCE, "server/n9").decide()
    assert result(decision) == (FAILED, "there is no server n9")


def dead(**more: Any) -> Scene:
    """n3 is dead, its session over, its BMC too; a person has looked at it."""
    scene = Scene().resource("ip", address="10.0.0.100").own("n3", epoch=7)
    scene.no_session("n3").silence("n3").server("n3", levels=0)
    return scene.operation(CONFIRM, "server/n3", **{"boot_id": boot("n3"), **more})


def test_a_confirmation_probes_the_addresses_first_and_then_is_a_proof() -> None:
    scene = dead()
    decision = scene.decide()
    assert ProbeAddresses("01", ("10.0.0.100",)) in decision.effects
    assert result(decision) is None
    assert written(decision, KEYS.fence("n3")) is None
    scene.local_probes["01"] = LocalProbe()
    decision = scene.decide()
    assert result(decision) == (DONE, "n3 counts as off")
    proof = written(decision, KEYS.fence("n3"))
    assert (proof.outcome, proof.covers) == (FenceOutcome.CONFIRMED_BY_PERSON, (boot("n3"),))
    assert "alice" in proof.detail
    new = granted(scene.store(decision).decide())
    assert new is not None
    assert (new.owner, new.epoch, new.proof) == ("n1", 8, "confirmed")


def test_a_confirmation_is_refused_while_anything_still_hears_the_server() -> None:
    heard = dead().hear("n3")
    assert result(heard.decide()) == (FAILED, "n3 is still heard; it is not off")
    by_another = dead().hear("n2", sees=())
    assert result(by_another.decide()) == (FAILED, "n3 is still heard by n2; it is not off")
    in_session = dead().session("n3")
    assert result(in_session.decide())[0] is FAILED  # type: ignore[index]
    assert "still has a session" in result(in_session.decide())[1]  # type: ignore[index]
    answers = dead()
    answers.local_probes["01"] = LocalProbe({"10.0.0.100": "02:00:00:00:00:03"})
    assert result(answers.decide()) == (
        FAILED,
        "10.0.0.100 still answers from 02:00:00:00:00:03; n3 is not off",
    )
    for scene in (heard, by_another, in_session, answers):
        assert written(scene.decide(), KEYS.fence("n3")) is None


def test_a_confirmation_is_for_the_boot_that_the_person_saw() -> None:
    assert "started again since" in result(dead(boot_id=boot("n3", 0)).decide())[1]  # type: ignore[index]
    assert "started again since" in result(dead(boot_id=None).decide())[1]  # type: ignore[index]


def test_a_confirmation_that_nothing_waits_for_is_refused() -> None:
    scene = dead().own("n1")
    assert "nothing waits for a proof" in result(scene.decide())[1]  # type: ignore[index]
    assert "nothing waits" in result(dead().fenced("n3").decide())[1]  # type: ignore[index]


def test_a_slow_coordinator_takes_no_confirmation() -> None:
    scene = dead()
    scene.pulse = {"pulse_alive": True, "paused": True}
    text = "n1 was late itself and cannot say who is silent; try again"
    assert result(scene.decide()) == (FAILED, text)


def test_a_confirmation_compares_that_the_server_has_no_session() -> None:
    """It may have come back a moment ago, while this server's copy of the store is behind."""
    scene = dead()
    scene.local_probes["01"] = LocalProbe()
    proof = next(w for w in scene.decide().writes if w.key == KEYS.fence("n3"))
    assert (KEYS.session("n3"), 0) in proof.depends


def test_two_confirmations_of_one_server_are_taken_one_after_the_other() -> None:
    """A store takes no transaction that writes one key twice: it ended every agent in turn."""
    scene = dead().operation(CONFIRM, "server/n3", id="02", boot_id=boot("n3"))
    scene.local_probes |= {"01": LocalProbe(), "02": LocalProbe()}
    decision = scene.decide()
    keys = [write.key for write in decision.writes]
    assert len(keys) == len(set(keys))
    assert result(decision) == (DONE, "n3 counts as off")
    assert result(scene.store(decision).decide(), "02")[0] is FAILED  # type: ignore[index]


def test_a_confirmation_waits_for_a_fence_that_ends_right_now() -> None:
    scene = dead().slot("n3")
    scene.local_probes["01"] = LocalProbe()
    scene.local_fences["intent"] = LocalFence(FenceOutcome.FAILED, "no answer")
    decision = scene.decide()
    keys = [write.key for write in decision.writes]
    assert len(keys) == len(set(keys))
    assert result(scene.store(decision).decide()) == (DONE, "n3 counts as off")


def test_addresses_that_cannot_be_probed_confirm_nothing() -> None:
    scene = dead()
    scene.local_probes["01"] = LocalProbe(error="no such interface")
    decision = scene.decide()
    assert result(decision)[0] is FAILED  # type: ignore[index]
    assert "no such interface" in result(decision)[1]  # type: ignore[index]
    assert written(decision, KEYS.fence("n3")) is None


def test_a_server_that_left_the_specs_can_still_be_confirmed() -> None:
    scene = dead()
    del scene.servers["n3"], scene.peers["n3"]
    assert verdict(scene.decide()).next_command == "clusterctl fence confirm n3"  # type: ignore[union-attr]
    scene.local_probes["01"] = LocalProbe()
    assert result(scene.decide()) == (DONE, "n3 counts as off")
