"""Final actions on a server: once, within their limits, and not instead of what safety demands."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide.actions import ActOnMachine, ForgetMachineActions, ResetSelf
from reconciler.decide.machine_actions import limit_reached, machine_obstacle, plan_machine
from reconciler.decide.records import OperationKind, OperationPhase, Phase, Proof, Verdict
from reconciler.decide.snapshot import PastAction, Snapshot
from tests.decide.build import Scene


def failed_often(final_action: str = "reboot-server", **more: Any) -> Scene:
    """Group web gave up: three times failed, the last time here."""
    scene = Scene("n1").group("web", finalAction=final_action).own(None, epoch=3)
    scene.own(None, epoch=3, proof=Proof.RELEASED, cause="failed 3 times, last on n1: it broke")
    scene.release("n1", epoch=3, cause="failed: it broke")
    for _ in range(3):
        scene.failed("n1", epoch=3)
    return scene


def taken(snapshot: Snapshot, *ages: float, key: str = "") -> Snapshot:
    past = tuple(PastAction("reboot", "it broke", snapshot.wall - age, key) for age in ages)
    return replace(snapshot, machine_actions=past)


def action(snapshot: Snapshot) -> ActOnMachine | None:
    found = [e for e in plan_machine(snapshot) if isinstance(e, ActOnMachine)]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("wished", "done"), [("reboot-server", "reboot"), ("power-off-server", "shutdown")]
)
def test_the_server_where_a_group_gave_up_acts_on_itself(wished: str, done: str) -> None:
    found = action(failed_often(wished).snapshot())
    assert found is not None
    assert (found.action, found.key, found.obstacle) == (done, "web/3", "")
    assert "failed 3 times" in found.reason


@pytest.mark.parametrize("wished", ["none", "stop-group"])
def test_other_final_actions_leave_the_server_alone(wished: str) -> None:
    assert action(failed_often(wished).snapshot()) is None


def test_it_is_done_once_for_an_epoch() -> None:
    snapshot = failed_often().snapshot()
    assert action(taken(snapshot, 5.0, key="web/3")) is None
    assert action(taken(snapshot, 5.0, key="web/2")) is not None
    assert action(replace(snapshot, boot_id="another-boot")) is None, "after the reboot"


def test_the_server_where_it_did_not_fail_last_does_nothing() -> None:
    scene = failed_often()
    scene.release("n2", epoch=3, cause="failed: it broke")
    assert action(scene.snapshot()) is None


def test_a_cleared_group_is_no_reason_any_more() -> None:
    scene = failed_often()
    scene.put("verdicts", "web", Verdict(group="web", phase=Phase.FAILED))
    assert action(scene.snapshot()) is None


def test_the_last_healthy_server_stays() -> None:
    scene = failed_often().no_session("n2").no_session("n3")
    found = action(scene.snapshot())
    assert found is not None
    assert found.obstacle == "this is the last healthy server"


def test_a_majority_must_be_left() -> None:
    assert "no majority" in machine_obstacle(failed_often().no_session("n3").snapshot())
    assert machine_obstacle(failed_often().snapshot()) == ""


def test_without_the_store_no_final_action_is_taken() -> None:
    snapshot = replace(failed_often().snapshot(), own_session=None)
    assert "not proven" in machine_obstacle(snapshot)


def test_the_limit_counts_within_its_window() -> None:
    scene = failed_often()
    scene.cluster["rebootLimit"] = {"max": 2, "window": "10m"}
    snapshot = scene.snapshot()
    assert limit_reached(taken(snapshot, 10.0, 700.0)) == ""
    told = limit_reached(taken(snapshot, 10.0, 500.0))
    assert told == "the reboot limit is reached: 2 in 10m; clusterctl clear server/n1"
    assert machine_obstacle(taken(snapshot, 10.0, 500.0)) == told


def test_clearing_forgets_what_was_before_it() -> None:
    scene = Scene("n1").operation(
        OperationKind.CLEAR, "server/n1", phase=OperationPhase.DONE, created_wall=1000.0
    )
    snapshot = replace(
        scene.snapshot(),
        machine_actions=(PastAction("reboot", "", 999.0), PastAction("crash", "", 1001.0)),
    )
    assert plan_machine(snapshot) == (ForgetMachineActions(1000.0),)
    assert plan_machine(replace(snapshot, machine_actions=snapshot.machine_actions[1:])) == ()


def test_an_operators_clear_ends_and_an_unknown_server_is_named() -> None:
    scene = Scene("n1").lead("n1").operation(OperationKind.CLEAR, "server/n2", id="01")
    scene.operation(OperationKind.CLEAR, "server/n9", id="02")
    ended = {w.record.id: w.record for w in scene.decide().writes if hasattr(w.record, "result")}
    assert ended["01"].phase is OperationPhase.DONE
    assert ended["02"].result == "there is no server n9"


def test_what_cannot_be_stopped_resets_the_server_beyond_every_limit() -> None:
    scene = Scene("n1").own("n1", releasing=True).no_session("n2").no_session("n3")
    scene.local("web", Phase.STOPPING, stuck="it does not go")
    snapshot = taken(scene.snapshot(), *[1.0] * 20)
    effects = scene.decide().effects
    assert limit_reached(snapshot)
    assert any(isinstance(effect, ResetSelf) for effect in effects)
