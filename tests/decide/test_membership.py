"""Who is here, who is suspected, and who may decide."""

import pytest

from reconciler.decide.membership import (
    Role,
    Standing,
    agreed_silent,
    hears_majority,
    role,
    session_proven,
    slot_open,
    standing,
)
from reconciler.decide.records import FenceOutcome
from reconciler.decide.snapshot import OwnSession
from tests.decide.build import KEYS, Scene, agent, boot


def test_everybody_is_online_in_a_healthy_cluster() -> None:
    snapshot = Scene().snapshot()
    assert {standing(snapshot, n) for n in ("n1", "n2", "n3")} == {Standing.ONLINE}


def test_two_missed_heartbeats_make_a_suspect_four_make_it_silent() -> None:
    assert standing(Scene().suspect("n3").snapshot(), "n3") is Standing.SUSPECT
    assert standing(Scene().silence("n3").snapshot(), "n3") is Standing.SILENT


@pytest.mark.parametrize(
    "pulse",
    [
        {"pulse_alive": True, "late_ms": 60.0},
        {"pulse_alive": True, "paused": True},
        {"pulse_alive": False},
    ],
    ids=["late", "stood still", "no pulse"],
)
def test_a_server_that_is_slow_itself_accuses_nobody(pulse: dict[str, object]) -> None:
    scene = Scene().own("n3").silence("n3").challenge("n3")
    scene.pulse = pulse
    assert not agreed_silent(scene.snapshot(), "n3")
    assert standing(scene.snapshot(), "n3") is Standing.ONLINE
    decision = scene.decide()
    assert not decision.writes
    assert not decision.own_writes


def test_silence_must_be_seen_by_every_reachable_server() -> None:
    scene = Scene().silence("n3", agreed=False)
    assert not agreed_silent(scene.snapshot(), "n3")
    assert standing(scene.snapshot(), "n3") is Standing.SUSPECT
    assert agreed_silent(scene.silence("n3").snapshot(), "n3")


def test_a_server_that_is_not_reachable_itself_has_no_say() -> None:
    scene = Scene(servers=("n1", "n2", "n3", "n4", "n5")).silence("n3").silence("n2")
    assert agreed_silent(scene.snapshot(), "n3")
    assert agreed_silent(scene.snapshot(), "n2")


def test_heard_without_a_session_is_store_isolated() -> None:
    assert standing(Scene().no_session("n2").snapshot(), "n2") is Standing.STORE_ISOLATED


def test_neither_heard_nor_in_session_is_offline() -> None:
    assert standing(Scene().no_session("n2").silence("n2").snapshot(), "n2") is Standing.OFFLINE


def test_a_fence_covers_only_the_boots_that_it_names() -> None:
    scene = Scene().silence("n3").fenced("n3")
    assert standing(scene.snapshot(), "n3") is Standing.FENCED
    # Its next boot is another machine as far as the proof goes.
    scene.session("n3", boot_id=boot("n3", 2)).hear("n3", boot_id=boot("n3", 2))
    assert standing(scene.snapshot(), "n3") is Standing.ONLINE


def test_the_old_session_of_a_fenced_boot_counts_for_nothing() -> None:
    scene = Scene().silence("n3").fenced("n3")
    assert "n3" in scene.tables["sessions"]
    assert standing(scene.snapshot(), "n3") is Standing.FENCED


def test_a_failed_fence_makes_nobody_fenced() -> None:
    for outcome in (FenceOutcome.FAILED, FenceOutcome.CONTRADICTED):
        scene = Scene().silence("n3").fenced("n3", outcome)
        assert standing(scene.snapshot(), "n3") is Standing.SILENT


def test_a_session_is_proven_until_its_time_is_over_and_only_as_the_store_shows_it() -> None:
    scene = Scene()
    assert session_proven(scene.snapshot())
    scene.own_session = OwnSession(agent("n1"), 1, 1, scene.now)
    assert not session_proven(scene.snapshot())
    scene.own_session = OwnSession(agent("n1", 2), 1, 1, scene.now + 9)
    assert not session_proven(scene.snapshot())
    assert not session_proven(Scene().no_session("n1").snapshot())


def test_roles_of_a_healthy_cluster() -> None:
    assert role(Scene(me="n1").snapshot()) is Role.COORDINATOR
    assert role(Scene(me="n2").snapshot()) is Role.NONE
    assert role(Scene(me="n2").lead(None).snapshot()) is Role.VACANT


def test_a_restarted_coordinator_takes_its_place_anew() -> None:
    assert role(Scene().lead("n1", incarnation=agent("n1", 0)).snapshot()) is Role.VACANT


def test_without_a_proven_session_nobody_decides() -> None:
    assert role(Scene().no_session("n1").snapshot()) is Role.NONE
    assert not Scene().no_session("n1").decide().writes


@pytest.mark.parametrize("me", ["n1", "n2"])
def test_a_server_named_in_the_open_slot_has_no_role(me: str) -> None:
    scene = Scene(me=me).lead("n1" if me == "n1" else None).slot(me, executor="n3")
    assert role(scene.snapshot()) is Role.NONE


def test_the_slot_of_another_server_takes_no_role() -> None:
    assert role(Scene().slot("n3", executor="n2").snapshot()) is Role.COORDINATOR


def test_an_expired_slot_is_over_later_for_the_others_than_for_its_executor() -> None:
    assert slot_open(Scene().slot("n3", age=11).snapshot())  # executor's time was 10 s
    assert not slot_open(Scene().slot("n3", age=12.6).snapshot())
    assert not slot_open(Scene().slot("n3", closed=True).snapshot())


def test_only_the_first_online_server_is_deputy_of_a_suspected_coordinator() -> None:
    for me, expected in (("n2", Role.DEPUTY), ("n3", Role.NONE)):
        assert role(Scene(me=me).suspect("n1").snapshot()) is expected


def test_the_next_server_is_deputy_when_the_first_is_away_too() -> None:
    servers = ("n1", "n2", "n3", "n4", "n5")
    scene = Scene(me="n3", servers=servers).silence("n2").silence("n1")
    assert role(scene.snapshot()) is Role.DEPUTY
    assert role(Scene(me="n4", servers=servers).silence("n2").silence("n1").snapshot()) is Role.NONE


def test_a_deputy_only_challenges_until_it_may_fence() -> None:
    decision = Scene(me="n2").suspect("n1").decide()
    assert not decision.take_coordinator
    assert not decision.writes
    assert [write.key for write in decision.own_writes] == [KEYS.challenge("n1")]


def test_a_deputy_deposes_only_together_with_the_intent_to_fence() -> None:
    decision = Scene(me="n2").silence("n1").challenge("n1").decide()
    assert decision.take_coordinator
    assert [write.key for write in decision.writes] == [KEYS.fence_slot]


def test_a_fenced_coordinators_place_is_vacant() -> None:
    assert role(Scene(me="n3").silence("n1").fenced("n1").snapshot()) is Role.VACANT


def test_a_majority_is_more_than_half_with_oneself() -> None:
    assert hears_majority(Scene().silence("n3").snapshot())
    assert not hears_majority(Scene().silence("n3").silence("n2").snapshot())
    four = ("n1", "n2", "n3", "n4")
    assert not hears_majority(Scene(servers=four).silence("n3").silence("n4").snapshot())


def test_who_was_heard_lately_counts_where_one_late_heartbeat_must_not() -> None:
    scene = Scene().silence("n2", since=2.0).silence("n3", since=4.0)
    assert not hears_majority(scene.snapshot())
    assert hears_majority(scene.snapshot(), within_s=3.0)
    assert not hears_majority(scene.snapshot(), within_s=1.0)
