"""A record that nobody here understands is unknown: its matter rests, everything else goes on."""

import pytest

from reconciler.decide.actions import ExecuteFence
from reconciler.decide.decide import decide
from reconciler.decide.leases import may_activate
from reconciler.decide.records import OperationKind, OperationPhase, Phase
from reconciler.decide.snapshot import LocalProbe
from tests.decide.build import KEYS, Scene, boot, granted, intent, result, verdict, written


def blind(scene: Scene, *keys: str) -> Scene:
    scene.unreadable |= set(keys)
    return scene


@pytest.mark.parametrize("key", [KEYS.group("web"), KEYS.release("web")])
def test_a_group_with_an_unreadable_record_is_blocked_and_the_others_go_on(key: str) -> None:
    scene = blind(Scene().group("other"), key)
    decision = scene.decide()
    assert granted(decision) is None
    assert verdict(decision).phase is Phase.BLOCKED  # type: ignore[union-attr]
    assert key in verdict(decision).reasons[0]  # type: ignore[union-attr]
    assert granted(decision, "other") is not None


def test_an_unreadable_verdict_lets_its_group_rest() -> None:
    decision = blind(Scene().group("other"), KEYS.verdict("web")).decide()
    assert granted(decision) is None
    assert granted(decision, "other") is not None


def test_an_unreadable_fence_record_of_the_owner_moves_nothing() -> None:
    scene = blind(Scene().own("n3").release("n3"), KEYS.fence("n3"))
    assert granted(scene.decide()) is None


@pytest.mark.parametrize("key", [KEYS.coordinator, KEYS.fence_slot])
def test_nobody_decides_by_an_unreadable_slot_or_coordinator(key: str) -> None:
    scene = blind(Scene(), key)
    if key == KEYS.coordinator:
        scene.coordinator = None
    decision = scene.decide()
    assert not decision.writes
    assert not decision.take_coordinator


def test_an_owner_keeps_what_runs_and_starts_nothing() -> None:
    scene = Scene().own("n1").local("web", Phase.ONLINE)
    assert may_activate(scene.snapshot(), "web", 1) is None
    blind(scene, KEYS.group("web")).tables["ownerships"].clear()
    assert may_activate(scene.snapshot(), "web", 1) is not None
    decision = scene.decide()
    assert "web" not in decision.local
    assert not decision.own_writes


@pytest.mark.parametrize("key", [KEYS.fence("n1"), KEYS.fence_slot])
def test_who_may_be_fenced_himself_starts_nothing(key: str) -> None:
    scene = blind(Scene().own("n1"), key)
    assert may_activate(scene.snapshot(), "web", 1) is not None


@pytest.mark.parametrize(
    "key", [KEYS.session("n3"), KEYS.fence("n3"), KEYS.answer("n3"), KEYS.challenge("n3")]
)
def test_no_fence_of_a_server_whose_records_are_unreadable(key: str) -> None:
    scene = Scene().own("n3").silence("n3").challenge("n3")
    assert intent(scene.decide()) is not None
    assert intent(blind(scene, key).decide()) is None


def test_an_unreadable_challenge_is_not_written_over() -> None:
    scene = blind(Scene().own("n3").silence("n3"), KEYS.challenge("n3"))
    assert written(scene.decide(), KEYS.challenge("n3")) is None


def test_a_confirmation_needs_to_read_the_session() -> None:
    scene = Scene().own("n3").no_session("n3").silence("n3")
    scene.operation(OperationKind.CONFIRM_FENCE, "server/n3", boot_id=boot("n3"))
    scene.local_probes["01"] = LocalProbe()
    assert result(scene.decide())[0] is OperationPhase.DONE  # type: ignore[index]
    found = result(blind(scene, KEYS.session("n3")).decide())
    assert found is not None
    assert found[0] is OperationPhase.FAILED


def test_a_wish_for_an_unreadable_group_waits() -> None:
    scene = blind(Scene(), KEYS.group("web")).operation(OperationKind.MOVE, "group/web")
    assert result(scene.decide()) is None


def test_nothing_unreadable_changes_nothing() -> None:
    assert decide(blind(Scene(), "elsewhere").snapshot()) == Scene().decide()
    assert not any(isinstance(e, ExecuteFence) for e in Scene().decide().effects)
