"""Operators' wishes: each ends as done or failed with a sentence, and does nothing else."""

from typing import Any

import pytest

from reconciler.decide.operations import KEEP_FINISHED_S
from reconciler.decide.records import OperationKind, OperationPhase, Phase, Wanted
from tests.decide.build import KEYS, Scene, granted, result, verdict

MOVE, START, STOP = OperationKind.MOVE, OperationKind.START, OperationKind.STOP
FENCE, CONFIRM = OperationKind.FENCE, OperationKind.CONFIRM_FENCE
RUNNING, DONE, FAILED = OperationPhase.RUNNING, OperationPhase.DONE, OperationPhase.FAILED


def released(scene: Scene, cause: str = "moved by alice") -> Scene:
    """The owner has done what it was asked: dropped its epoch, stopped, released."""
    record = scene.tables["ownerships"]["web"].record
    return scene.release(record.owner, epoch=record.epoch, cause=cause)


# -- move ------------------------------------------------------------------------------------


def test_a_move_asks_the_owner_to_release_then_grants_then_is_done_when_online() -> None:
    scene = Scene().own("n1").operation(MOVE, "group/web", to="n3")
    decision = scene.decide()
    assert result(decision) == (RUNNING, "")
    assert granted(decision).releasing  # type: ignore[union-attr]
    scene.store(decision)
    assert not scene.decide().writes
    decision = released(scene).decide()
    assert (granted(decision).owner, granted(decision).epoch) == ("n3", 2)  # type: ignore[union-attr]
    scene.store(decision)
    assert not scene.decide().writes
    scene.status("n3", epoch=2)
    assert result(scene.decide()) == (DONE, "group web is online on n3")


def test_a_move_without_a_wish_goes_anywhere_else() -> None:
    scene = Scene().own("n1").operation(MOVE, "group/web")
    scene.store(scene.decide())
    assert granted(released(scene).decide()).owner == "n2"  # type: ignore[union-attr]


def test_a_move_whose_target_died_meanwhile_ends_on_the_best_other_server_and_says_so() -> None:
    scene = Scene().own("n1").operation(MOVE, "group/web", to="n3")
    scene.store(scene.decide())
    scene.silence("n3")
    decision = released(scene).decide()
    assert granted(decision).owner == "n1"  # type: ignore[union-attr]
    scene.store(decision).status("n1", epoch=2)
    assert result(scene.decide()) == (FAILED, "group web is online on n1")


def test_a_move_that_was_overtaken_by_a_stop_ends_and_nothing_waits_for_it() -> None:
    """The stop is younger, but its name is older: it was asked for where the clock is behind."""
    scene = Scene().own("n1").operation(MOVE, "group/web", "13", to="n3")
    scene.store(scene.decide()).operation(STOP, "group/web", "04")
    scene.store(scene.decide()).store(released(scene).decide()).store(scene.decide())
    assert scene.tables["operations"]["04"].record.phase is DONE
    scene.operation(START, "group/web", "18")
    decision = scene.decide()
    assert result(decision, "13") == (FAILED, "group web runs nowhere; clusterctl start group/web")
    assert granted(scene.store(decision).decide()).owner == "n1"  # type: ignore[union-attr]


def test_a_start_that_was_overtaken_by_another_ends() -> None:
    scene = Scene().own("n1").operation(START, "group/web", "13", phase=RUNNING)
    assert result(scene.decide(), "13") == (DONE, "group web is owned by n1 already")


def test_a_start_of_what_is_being_stopped_waits_and_starts_it() -> None:
    """A stop that nobody wishes any more (its wish was lost with a restored store) is no end."""
    scene = Scene().own("n1", releasing=True, wanted=Wanted.OFFLINE)
    scene.operation(START, "group/web", "18")
    scene.store(scene.decide())
    assert scene.tables["operations"]["18"].record.phase is RUNNING
    assert granted(released(scene).decide()).owner == "n1"  # type: ignore[union-attr]


def test_a_move_that_fails_on_the_new_server_says_why() -> None:
    scene = Scene().own("n1").operation(MOVE, "group/web", to="n3")
    scene.store(scene.decide())
    scene.store(released(scene).decide())
    released(scene, "failed: web-ip: no route")
    assert result(scene.decide()) == (FAILED, "failed: web-ip: no route")


REFUSED: dict[str, tuple[Any, tuple[OperationPhase, str]]] = {
    "to where it is": (
        lambda: Scene().own("n1").operation(MOVE, "group/web", to="n1"),
        (DONE, "group web is on n1 already"),
    ),
    "to a server that is silent": (
        lambda: Scene().own("n1").silence("n3").operation(MOVE, "group/web", to="n3"),
        (FAILED, "n3 cannot run it (n2: preference 2; n3: it is silent)"),
    ),
    "to a server that is not listed": (
        lambda: (
            Scene()
            .group("web", servers=["n1", "n2"])
            .own("n1")
            .operation(MOVE, "group/web", to="n3")
        ),
        (FAILED, "n3 cannot run it (n2: preference 2)"),
    ),
    "with no other server": (
        lambda: Scene().group("web", servers=["n1"]).own("n1").operation(MOVE, "group/web"),
        (FAILED, "no other server can run it (the group lists no other server)"),
    ),
    "of a group that runs nowhere": (
        lambda: Scene().own(None, wanted=Wanted.OFFLINE).operation(MOVE, "group/web", to="n2"),
        (FAILED, "group web runs nowhere; clusterctl start group/web"),
    ),
    "of nothing": (
        lambda: Scene().own("n1").operation(MOVE, "group/none", to="n2"),
        (FAILED, "there is no group none"),
    ),
    "start of what runs": (
        lambda: Scene().own("n1").operation(START, "group/web"),
        (DONE, "group web is owned by n1 already"),
    ),
    "start where it cannot run": (
        lambda: (
            Scene()
            .own(None, wanted=Wanted.OFFLINE)
            .silence("n3")
            .operation(START, "group/web", to="n3")
        ),
        (FAILED, "n3 cannot run it (n1: preference 1; n2: preference 2; n3: it is silent)"),
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_is_refused_with_a_sentence_and_changes_nothing(case: str) -> None:
    build, expected = REFUSED[case]
    decision = build().decide()
    assert result(decision) == expected
    assert granted(decision) is None


# -- start and stop --------------------------------------------------------------------------


def test_a_stop_takes_the_group_from_its_owner_and_leaves_it_offline() -> None:
    scene = Scene().own("n1", epoch=7).operation(STOP, "group/web")
    decision = scene.decide()
    asked = granted(decision)
    assert asked is not None
    assert (asked.releasing, asked.wanted) == (True, Wanted.OFFLINE)
    scene.store(decision)
    assert not scene.decide().writes
    decision = released(scene, "stopped by an operator").decide()
    parked = granted(decision)
    assert parked is not None
    assert (parked.owner, parked.wanted, parked.epoch) == (None, Wanted.OFFLINE, 7)
    assert verdict(decision).phase is Phase.OFFLINE  # type: ignore[union-attr]
    scene.store(decision)
    decision = scene.decide()
    assert result(decision) == (DONE, "group web is stopped")
    assert granted(decision) is None
    assert not scene.store(decision).decide().writes


def test_a_group_that_never_ran_can_be_stopped_before_it_starts() -> None:
    scene = Scene().operation(STOP, "group/web")
    scene.settle()
    assert scene.tables["operations"]["01"].record.phase is DONE
    assert scene.tables["ownerships"]["web"].record.owner is None


def test_a_stop_of_a_silent_owner_waits_for_a_proof() -> None:
    scene = Scene().server("n3", levels=0).own("n3").silence("n3").challenge("n3")
    scene.operation(STOP, "group/web")
    scene.store(scene.decide())
    assert granted(scene.decide()) is None
    assert scene.tables["operations"]["01"].record.phase is RUNNING
    assert granted(scene.fenced("n3").decide()).owner is None  # type: ignore[union-attr]


def test_a_start_brings_a_stopped_group_back_at_the_next_epoch() -> None:
    scene = Scene().own(None, epoch=7, wanted=Wanted.OFFLINE).operation(START, "group/web")
    new = granted(scene.decide())
    assert new is not None
    assert (new.owner, new.epoch, new.wanted) == ("n1", 8, Wanted.ONLINE)
    scene.store(scene.decide()).status("n1", epoch=8)
    assert result(scene.decide()) == (DONE, "group web is online on n1")


def test_a_start_goes_exactly_where_it_was_wished() -> None:
    scene = Scene().own(None, wanted=Wanted.OFFLINE).operation(START, "group/web", to="n3")
    assert granted(scene.decide()).owner == "n3"  # type: ignore[union-attr]


def test_a_status_of_another_epoch_ends_no_operation() -> None:
    scene = Scene().own(None, epoch=7, wanted=Wanted.OFFLINE).operation(START, "group/web")
    scene.store(scene.decide()).status("n1", epoch=7)
    assert result(scene.decide()) is None


# -- one at a time ---------------------------------------------------------------------------


def test_one_operation_at_a_time_for_a_group_the_oldest_first() -> None:
    scene = Scene().own("n1")
    scene.operation(MOVE, "group/web", id="02", to="n3").operation(STOP, "group/web", id="01")
    decision = scene.decide()
    assert result(decision, "01") == (RUNNING, "")
    assert result(decision, "02") is None
    assert granted(decision).wanted is Wanted.OFFLINE  # type: ignore[union-attr]


def test_operations_of_different_groups_go_on_together() -> None:
    scene = Scene().own("n1").group("db").own("n1", "db")
    scene.operation(STOP, "group/web", id="01").operation(STOP, "group/db", id="02")
    decision = scene.decide()
    assert granted(decision, "web") is not None
    assert granted(decision, "db") is not None


def test_a_running_operation_is_asked_for_once() -> None:
    scene = Scene().own("n1").operation(MOVE, "group/web", to="n3")
    scene.store(scene.decide())
    revision = scene.tables["ownerships"]["web"].mod_revision
    for _ in range(3):
        scene.store(scene.decide()).at(1)
    assert scene.tables["ownerships"]["web"].mod_revision == revision


def test_finished_operations_are_kept_for_a_while_and_then_forgotten() -> None:
    scene = Scene().own("n1")
    scene.operation(STOP, "group/web", phase=DONE, finished_wall=scene.wall)
    assert not scene.at(KEEP_FINISHED_S - 1).decide().writes
    gone = scene.at(2).decide().writes
    assert [(w.key, w.record) for w in gone] == [(KEYS.operation("01"), None)]


# -- single resources ------------------------------------------------------------------------


def test_a_single_resource_is_stopped_and_started_within_its_group() -> None:
    scene = Scene().own("n1").resource("ip").resource("app")
    scene.status("n1", epoch=1, ip="active", app="active").operation(STOP, "resource/app")
    decision = scene.decide()
    assert granted(decision).stopped_resources == ("app",)  # type: ignore[union-attr]
    scene.store(decision)
    assert result(scene.decide()) is None
    scene.status("n1", epoch=1, ip="active", app="inactive")
    assert result(scene.decide()) == (DONE, "resource app is inactive on n1")
    scene.store(scene.decide()).operation(START, "resource/app", id="02")
    assert granted(scene.decide()).stopped_resources == ()  # type: ignore[union-attr]


def test_a_resource_of_a_group_that_does_not_run_is_refused() -> None:
    scene = Scene().own(None, wanted=Wanted.OFFLINE).resource("ip")
    decision = scene.operation(STOP, "resource/ip").decide()
    assert result(decision) == (FAILED, "its group web is not running")
    decision = Scene().own("n1").operation(STOP, "resource/none").decide()
    assert result(decision) == (FAILED, "there is no resource none")


# -- clear and bypass ------------------------------------------------------------------------


def test_clear_forgets_failures_and_ends() -> None:
    scene = Scene().own("n1").failed("n1").failed("n2")
    decision = scene.operation(OperationKind.CLEAR, "group/web").decide()
    assert result(decision) == (DONE, "failures cleared")
    assert [w.record for w in decision.writes if w.key == KEYS.verdict("web")] == [None]


def test_clear_of_an_unknown_group_fails() -> None:
    decision = Scene().operation(OperationKind.CLEAR, "group/nope").decide()
    assert result(decision) == (FAILED, "there is no group nope")


def test_bypass_ends_at_once() -> None:
    scene = Scene().own("n1").operation(OperationKind.BYPASS_BARRIER, "cluster")
    assert result(scene.decide()) == (DONE, "barrier bypassed")


def test_every_operation_says_who_asked_for_it() -> None:
    scene = Scene().own("n1").operation(STOP, "group/web")
    write = next(w for w in scene.decide().writes if w.key == KEYS.operation("01"))
    assert write.reason is not None
    assert ("who", "alice") in write.reason.fields
