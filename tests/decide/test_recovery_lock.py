"""A group under recovery keeps operators' wishes waiting, visibly, unless they pre-empt it."""

from typing import Any

import pytest

from reconciler.decide.records import MonitorStatus, OperationKind, OperationPhase
from reconciler.decide.recovery_lock import preempted_by
from tests.decide.build import Scene, granted, result

MOVE, START, STOP = OperationKind.MOVE, OperationKind.START, OperationKind.STOP
PENDING, RUNNING = OperationPhase.PENDING, OperationPhase.RUNNING
WAITS = "waits: monitor m recovers group web (script)"


def recovering(owner: str = "n2", step: str = "script", **more: Any) -> Scene:
    scene = Scene().resource("address").own("n2").status("n2", epoch=1, address="active")
    status = MonitorStatus(
        monitor="m", server=owner, recovering=step, recovering_groups=("web",), **more
    )
    scene.monitor_status[owner, "m"] = status
    return scene


def test_a_wish_waits_and_says_for_what() -> None:
    for kind, target in ((MOVE, "group/web"), (STOP, "group/web"), (STOP, "resource/address")):
        scene = recovering().operation(kind, target)
        decision = scene.decide()
        assert result(decision) == (PENDING, WAITS)
        assert granted(decision) is None
        assert not scene.store(decision).decide().writes  # said once


def test_it_goes_on_when_the_step_is_over() -> None:
    scene = recovering().operation(MOVE, "group/web")
    scene.store(scene.decide())
    scene.monitor_status.clear()
    assert result(scene.decide()) == (RUNNING, "")


def test_a_preempting_wish_overtakes_one_that_waits() -> None:
    scene = recovering().operation(STOP, "group/web")
    scene.operation(MOVE, "group/web", id="02", preempt=True)
    record = granted(scene.decide())
    assert record is not None
    assert (record.releasing, record.operation) == (True, "02")
    assert preempted_by(scene.snapshot(), ("web",)) == "alice"
    assert preempted_by(scene.snapshot(), ("db",)) == ""


def test_a_wish_that_has_begun_is_not_held_up() -> None:
    scene = recovering().operation(MOVE, "group/web", phase=RUNNING)
    assert granted(scene.decide()) is not None


@pytest.mark.parametrize(
    "scene",
    [
        recovering("n3"),  # not the owner: what it says concerns nobody
        recovering(step=""),
        recovering().silence("n2"),
        recovering().no_session("n2"),
    ],
)
def test_only_the_recovery_of_a_healthy_owner_holds_the_group(scene: Scene) -> None:
    decision = scene.operation(STOP, "group/web").decide()
    assert result(decision)[1] != WAITS
