"""A wish is taken back as long as nothing has been done for it, and by the coordinator only."""

from reconciler.decide.records import OperationKind, OperationPhase
from tests.decide.build import Scene, granted, intent, result

DONE, FAILED = OperationPhase.DONE, OperationPhase.FAILED


def cancelled(scene: Scene) -> Scene:
    """The wish "01" is to be taken back."""
    return scene.operation(OperationKind.CANCEL, "operation/01", id="02")


def test_a_move_that_has_not_begun_is_taken_back_and_moves_nothing() -> None:
    for phase in (OperationPhase.PENDING, OperationPhase.RUNNING):
        scene = Scene().own("n1").operation(OperationKind.MOVE, "group/web", phase=phase)
        decision = cancelled(scene).decide()
        assert result(decision, "01") == (FAILED, "cancelled by alice")
        assert result(decision, "02") == (DONE, "move group/web is cancelled")
        assert granted(decision) is None
        assert granted(scene.settle()) is None


def test_a_move_that_has_begun_goes_on() -> None:
    scene = Scene().own("n1", releasing=True, operation="01")
    scene.operation(OperationKind.MOVE, "group/web", phase=OperationPhase.RUNNING)
    decision = cancelled(scene).decide()
    assert result(decision, "01") is None
    assert result(decision, "02") == (FAILED, "move group/web is under way already")


def test_a_fence_is_taken_back_until_somebody_is_told_to_do_it() -> None:
    scene = Scene().operation(OperationKind.FENCE, "server/n2", phase=OperationPhase.RUNNING)
    decision = cancelled(scene).decide()
    assert result(decision, "01") == (FAILED, "cancelled by alice")
    scene.slot("n2")
    assert result(scene.decide(), "02") == (FAILED, "n2 is being powered off already")


def test_a_fence_that_was_cancelled_is_not_begun_any_more() -> None:
    scene = cancelled(
        Scene().operation(OperationKind.FENCE, "server/n2", phase=OperationPhase.PENDING)
    )
    assert intent(scene.settle()) is None


def test_what_has_ended_or_is_not_there_cannot_be_taken_back() -> None:
    over = "there is no operation 01 that has not ended"
    assert result(cancelled(Scene()).decide(), "02") == (FAILED, over)
    scene = Scene().operation(OperationKind.CLEAR, "group/web", phase=OperationPhase.DONE)
    assert result(cancelled(scene).decide(), "02") == (FAILED, over)


def test_other_ways_back_are_named() -> None:
    scene = Scene().operation(OperationKind.HOLD, "server/n2", for_s=10)
    assert "agent release --server n2" in (result(cancelled(scene).decide(), "02") or ("", ""))[1]
