"""agent hold: recorded first, stretched then, confirmed last; bounded, and never a proof."""

from typing import Any

import pytest

from reconciler.decide.actions import StretchDeadline
from reconciler.decide.holding import LONGEST_S
from reconciler.decide.records import Hold, OperationKind, OperationPhase, Phase
from tests.decide.build import KEYS, NOW, WALL, Scene, boot, granted, intent, result, written
from tests.decide.test_placement import chosen, reason

KEY = KEYS.hold("n2")


def wish(scene: Scene, for_s: float = 600.0, server: str = "n2") -> Scene:
    return scene.operation(OperationKind.HOLD, f"server/{server}", for_s=for_s, why="upgrade")


def held(scene: Scene, server: str = "n2", **more: Any) -> Scene:
    values: dict[str, Any] = {
        "server": server,
        "boot_id": boot(server),
        "id": "01",
        "for_s": 600.0,
        "until_wall": WALL + 600,
        "who": "alice",
        "in_force": True,
        **more,
    }
    return scene.put("holds", server, Hold(**values))


def told(scene: Scene, hold: str = "01", until: float = NOW + 600) -> Scene:
    scene.pulse |= {"stretch": hold, "stretched_until": until}
    return scene


def stretches(scene: Scene) -> list[StretchDeadline]:
    return [e for e in scene.decide().effects if isinstance(e, StretchDeadline)]


# -- the coordinator ---------------------------------------------------------------------------


def test_a_wish_is_recorded_and_done_only_when_the_servers_pulse_has_it() -> None:
    scene = wish(Scene())
    scene.store(scene.decide())
    record = scene.tables["holds"]["n2"].record
    assert (record.boot_id, record.until_wall, record.in_force) == (boot("n2"), WALL + 600, False)
    assert scene.tables["operations"]["01"].record.phase is OperationPhase.RUNNING
    assert result(scene.decide()) is None
    held(scene)
    phase, text = result(scene.decide()) or (None, "")
    assert phase is OperationPhase.DONE
    assert text.startswith("n2 may be without its agent until ")


def test_a_hold_is_bounded() -> None:
    phase, text = result(wish(Scene(), for_s=LONGEST_S + 1).decide()) or (None, "")
    assert phase is OperationPhase.FAILED
    assert "at most 4 h" in text
    assert result(wish(Scene(), for_s=0).decide()) is not None


def test_a_server_that_is_not_well_is_not_held() -> None:
    decision = wish(Scene().silence("n2")).decide()
    assert (result(decision) or ("", ""))[1] == "n2 is silent: its pulse cannot be told"
    assert written(decision, KEY) is None


def test_a_server_whose_groups_must_stop_without_the_store_is_not_held() -> None:
    """Others may take these over because time has passed: their deadline is never stretched."""
    scene = wish(Scene().own("n2", on_store_loss="stop"))
    assert "onStoreLoss: stop" in (result(scene.decide()) or ("", ""))[1]


def test_a_second_hold_waits_for_the_end_of_the_first() -> None:
    scene = held(Scene(), id="00")
    assert "is held until" in (result(wish(scene).decide()) or ("", ""))[1]


def test_a_release_is_recorded_and_over_when_the_record_is_gone() -> None:
    scene = held(Scene()).operation(OperationKind.RELEASE_HOLD, "server/n2")
    decision = scene.decide()
    assert written(decision, KEY).released
    scene.store(decision)
    assert result(scene.decide()) is None
    del scene.tables["holds"]["n2"]
    assert (result(scene.decide()) or ("", ""))[0] is OperationPhase.DONE


def test_a_hold_ends_with_its_boot() -> None:
    for scene in (
        held(Scene().session("n2", boot("n2", 2)).hear("n2", boot_id=boot("n2", 2))),
        held(Scene().silence("n2").fenced("n2")),
    ):
        assert KEY in {w.key for w in scene.decide().writes if w.record is None}


def test_nothing_is_placed_on_a_held_server() -> None:
    scene = held(Scene().group("web", servers=["n2", "n1"]))
    assert chosen(scene) == "n1"
    assert reason(scene, "n2").startswith("its agent is on hold until ")
    assert chosen(held(Scene().group("web", servers=["n2"]), released=True)) == "n2"


def test_a_held_server_is_fenced_when_its_heartbeats_are_silent() -> None:
    scene = held(Scene().own("n2").silence("n2").challenge("n2"))
    found = intent(scene.decide())
    assert found is not None
    assert found.victim == "n2"


def test_the_end_of_a_held_servers_session_moves_nothing() -> None:
    scene = held(Scene().own("n2").no_session("n2"))
    decision = scene.decide()
    assert granted(decision) is None
    assert intent(decision) is None


# -- the held server ---------------------------------------------------------------------------


def mine(**more: Any) -> Scene:
    return held(Scene(me="n2").lead("n1"), in_force=more.pop("in_force", False), **more)


def test_the_pulse_is_told_only_what_is_recorded_and_not_for_longer() -> None:
    assert stretches(Scene(me="n2").lead("n1")) == []
    assert stretches(mine()) == [StretchDeadline("01", NOW + 600)]
    assert stretches(mine(until_wall=WALL + 50)) == [StretchDeadline("01", NOW + 50)]
    assert stretches(mine(for_s=1e9, until_wall=WALL + 1e9)) == [
        StretchDeadline("01", NOW + LONGEST_S)
    ]


def test_the_record_is_confirmed_once_the_pulse_has_it() -> None:
    assert written(mine().decide(), KEY) is None
    assert written(told(mine()).decide(), KEY).in_force
    assert written(told(mine(in_force=True)).decide(), KEY) is None


def test_a_restarted_agent_does_not_stretch_anew() -> None:
    assert stretches(told(mine(in_force=True), until=NOW + 10)) == []
    ended = told(mine(in_force=True), until=NOW - 1).decide()
    assert KEY in {w.key for w in ended.own_writes if w.record is None}


def test_a_released_hold_first_leaves_the_pulse_then_the_store() -> None:
    scene = told(mine(in_force=True, released=True))
    assert stretches(scene) == [StretchDeadline("01", 0.0)]
    assert KEY not in {w.key for w in scene.decide().own_writes}
    told(scene, until=0.0)
    assert KEY in {w.key for w in scene.decide().own_writes if w.record is None}


def test_what_nobody_recorded_and_what_is_of_another_boot_is_not_stretched() -> None:
    assert stretches(told(Scene(me="n2").lead("n1"))) == [StretchDeadline("01", 0.0)]
    assert stretches(mine(boot_id=boot("n2", 0))) == []


def test_a_held_server_that_has_its_agent_runs_its_groups_as_ever() -> None:
    scene = told(mine(in_force=True)).own("n2").local("web", Phase.ONLINE)
    assert scene.decide().local["web"].want == "run"


@pytest.mark.parametrize("policy", ["stop", "keep"])
@pytest.mark.parametrize("how", ["first start", "asked for", "failover"])
def test_a_hold_and_a_grant_in_the_same_decision_are_no_both(how: str, policy: str) -> None:
    """Else n2's pulse would wait for its agent, while others may count on its end."""
    scene = wish(Scene().group("web", servers=["n2"], onStoreLoss=policy))
    if how == "asked for":
        scene.own(None).operation(OperationKind.START, "group/web", id="00", to="n2")
    if how == "failover":
        scene.group("web", servers=["n3", "n2"], onStoreLoss=policy).own("n3").silence("n3")
        scene.fenced("n3")
    first = scene.decide()
    assert written(first, KEY).id == "01"
    assert granted(first) is None
    assert granted(scene.store(first).decide()) is None


def test_a_server_that_was_granted_such_a_group_first_is_not_held() -> None:
    scene = Scene(servers=("n1", "n2")).group("web", servers=["n2"], onStoreLoss="stop")
    scene.store(scene.decide())
    assert "must stop without its agent" in (result(wish(scene).decide()) or ("", ""))[1]
