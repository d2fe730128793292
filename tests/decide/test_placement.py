"""Where a group may run: hard rules first, then preference, and a reason for each server."""

import pytest

from reconciler.decide.placement import Placing, candidates, choose
from reconciler.decide.records import Candidate
from tests.decide.build import KEYS, Scene, boot


def found(scene: Scene, group: str = "web", **more: object) -> tuple[Candidate, ...]:
    verdict = scene.tables["verdicts"].get(group)
    failures = verdict.record.failures if verdict else ()
    snapshot = scene.snapshot()
    return candidates(snapshot, group, Placing(failures=failures, **more))  # type: ignore[arg-type]


def chosen(scene: Scene, **more: object) -> str | None:
    candidate = choose(found(scene, **more))
    return candidate.server if candidate else None


def reason(scene: Scene, server: str, **more: object) -> str:
    return next(c.reason for c in found(scene, **more) if c.server == server)


def test_the_list_is_the_order_of_preference() -> None:
    scene = Scene().group("web", servers=["n3", "n1", "n2"])
    assert [c.server for c in found(scene)] == ["n3", "n1", "n2"]
    assert [c.reason for c in found(scene)] == ["preference 1", "preference 2", "preference 3"]


def test_without_a_list_all_servers_by_name() -> None:
    assert [c.server for c in found(Scene())] == ["n1", "n2", "n3"]


def test_a_server_that_is_not_listed_is_no_candidate() -> None:
    scene = Scene().group("web", servers=["n3"])
    assert [c.server for c in found(scene)] == ["n3"]


def test_nothing_is_placed_where_it_cannot_run_and_each_reason_is_told() -> None:
    assert reason(Scene().silence("n2"), "n2") == "it is silent"
    assert reason(Scene().suspect("n2"), "n2") == "it is suspect"
    assert reason(Scene().no_session("n2"), "n2") == "it is store-isolated"
    assert reason(Scene().no_session("n2").silence("n2"), "n2") == "it is offline"
    assert reason(Scene().silence("n2").fenced("n2"), "n2") == "it is fenced"
    assert reason(Scene().slot("n2"), "n2") == "it is being fenced"
    assert reason(Scene().group("web", servers=["n9"]), "n9") == "there is no such server"


def test_a_server_that_was_rebooted_waits_for_its_new_session() -> None:
    scene = Scene().hear("n2", boot_id=boot("n2", 2))
    assert reason(scene, "n2") == "it has been restarted and has no session yet"


def test_eligible_servers_come_first() -> None:
    assert [c.server for c in found(Scene().silence("n2"))] == ["n1", "n3", "n2"]


@pytest.mark.parametrize(("choice", "expected"), [("stable", "n2"), ("priority", "n1")])
def test_stable_passes_over_servers_where_it_failed_lately(choice: str, expected: str) -> None:
    scene = Scene().group("web", failover={"choice": choice}).failed("n1")
    assert chosen(scene) == expected


def test_a_failure_outside_the_window_is_forgotten() -> None:
    scene = Scene().group("web", failover={"window": "1h"}).failed("n1", ago=3599)
    assert chosen(scene) == "n2"
    scene.at(2)
    assert chosen(scene) == "n1"


def test_the_reason_of_the_latest_failure_is_told() -> None:
    assert reason(Scene().failed("n1"), "n1") == "the group failed there: it broke"


def test_a_server_that_the_group_just_gave_up_is_passed_over_even_by_priority() -> None:
    scene = Scene().group("web", failover={"choice": "priority"})
    assert chosen(scene, leaving="n1") == "n2"


def test_an_operator_overrules_failures() -> None:
    assert chosen(Scene().failed("n1"), by_operator=True) == "n1"


def test_an_operator_does_not_overrule_what_cannot_be() -> None:
    scene = Scene().silence("n2").silence("n3")
    assert choose(found(scene, by_operator=True), "n2") is None


# -- server groups ---------------------------------------------------------------------------


def sites(rule: str) -> Scene:
    scene = Scene(servers=("n1", "n2", "n3", "n4"))
    scene.server_group("left", "n1", "n2").server_group("right", "n3", "n4")
    return scene.group("web", serverGroups=["left", "right"], failover={"acrossServerGroups": rule})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("any", ["n1", "n2", "n3", "n4"]), ("prefer-same", ["n3", "n4", "n1", "n2"])],
)
def test_order_after_an_owner_on_the_right(rule: str, expected: list[str]) -> None:
    assert [c.server for c in found(sites(rule), previous="n3")] == expected


def test_prefer_same_leaves_the_server_group_when_it_must() -> None:
    scene = sites("prefer-same").silence("n3").silence("n4")
    assert chosen(scene, previous="n3") == "n1"


def test_forbid_never_leaves_the_server_group() -> None:
    scene = sites("forbid").silence("n3").silence("n4")
    assert chosen(scene, previous="n3") is None
    assert reason(scene, "n1", previous="n3") == "it is outside server group right"


def test_forbid_binds_no_first_start_and_no_operator() -> None:
    assert chosen(sites("forbid")) == "n1"
    scene = sites("forbid").silence("n3").silence("n4")
    assert chosen(scene, previous="n3", by_operator=True) == "n1"


def test_a_wished_server_is_taken_exactly_or_not_at_all() -> None:
    assert choose(found(Scene()), "n3").server == "n3"  # type: ignore[union-attr]
    assert choose(found(Scene().silence("n3")), "n3") is None


# -- monitors, balance, exclusion --------------------------------------------------------------


def test_stable_passes_over_a_server_where_a_monitor_of_the_group_is_faulty() -> None:
    scene = Scene().monitor("route", n1="faulty", n2="healthy")
    assert chosen(scene) == "n2"
    assert reason(scene, "n1") == "preference 1; but monitor route is faulty there: no route"


def test_a_faulty_monitor_is_better_than_no_server_at_all() -> None:
    scene = Scene().monitor("route", n1="faulty", n2="parked", n3="faulty")
    assert chosen(scene) == "n1"
    assert chosen(scene, spotless=True) is None


def test_priority_does_not_look_at_monitors_unless_it_is_dynamic() -> None:
    scene = Scene().group("web", failover={"choice": "priority"}).monitor("route", n1="faulty")
    assert chosen(scene) == "n1"
    scene.group("web", failover={"choice": "priority", "mode": "dynamic"})
    assert chosen(scene) == "n2"


def test_a_monitor_of_another_group_says_nothing() -> None:
    scene = Scene().group("db").monitor("route", "group/db", n1="faulty")
    assert chosen(scene) == "n1"


def test_dynamic_fails_over_to_the_server_with_the_fewest_groups() -> None:
    scene = Scene().group("web", failover={"mode": "dynamic"}).group("db").own("n2", "db")
    where = {"previous": "n1", "leaving": "n1", "failover": True}
    assert chosen(scene, **where) == "n3"
    assert reason(scene, "n2", **where) == "preference 2; runs 1 other group"
    assert reason(scene, "n3", **where) == "preference 3; runs 0 other groups"


def test_a_first_start_is_in_the_order_of_the_list_even_if_dynamic() -> None:
    scene = Scene().group("web", failover={"mode": "dynamic"}).group("db").own("n1", "db")
    assert chosen(scene) == "n1"


def test_groups_of_one_dead_server_spread_over_the_others() -> None:
    scene = Scene(me="n2").lead("n2").silence("n1").fenced("n1")
    scene.groups.clear()
    for name in ("g1", "g2", "g3", "g4"):
        scene.group(name, failover={"mode": "dynamic"}).own("n1", name)
    scene.settle()
    owners = [s.record.owner for s in scene.tables["ownerships"].values()]
    assert sorted(owners) == ["n2", "n2", "n3", "n3"]


def test_a_required_exclusion_binds_operators_too() -> None:
    scene = Scene().group("web", exclusion="require").group("db", exclusion="require")
    scene.own("n1", "db")
    assert chosen(scene) == "n2"
    assert chosen(scene, by_operator=True) == "n2"
    assert reason(scene, "n1") == "group db has it for itself (exclusion)"


def test_a_grant_under_a_required_exclusion_rests_on_where_its_rivals_are() -> None:
    """What this server knows of them may be old: the transaction compares it."""
    scene = Scene().group("web", exclusion="require").group("db", exclusion="require")
    scene.group("log").own("n1", "db")
    write = next(w for w in scene.decide().writes if w.key == KEYS.group("web"))
    db = scene.tables["ownerships"]["db"]
    assert (KEYS.group("db"), db.mod_revision) in write.depends
    assert KEYS.group("log") not in dict(write.depends)


def test_a_required_exclusion_leaves_room_for_groups_without_it() -> None:
    scene = (
        Scene().group("web", exclusion="require").group("db", exclusion="prefer").own("n1", "db")
    )
    scene.silence("n2").silence("n3")
    assert chosen(scene) == "n1"
    assert reason(scene, "n1") == "preference 1; but shared with group db"


def test_a_preferred_exclusion_shares_only_if_it_must() -> None:
    scene = Scene().group("web", exclusion="prefer").group("db", exclusion="prefer").own("n1", "db")
    assert chosen(scene) == "n2"
    scene.silence("n2").silence("n3")
    assert chosen(scene) == "n1"


def test_groups_that_exclude_each_other_start_on_different_servers_in_one_decision() -> None:
    scene = Scene()
    scene.groups.clear()
    for name in ("g1", "g2", "g3", "g4"):
        scene.group(name, exclusion="require")
    scene.settle()
    owners = {name: s.record.owner for name, s in scene.tables["ownerships"].items()}
    assert owners == {"g1": "n1", "g2": "n2", "g3": "n3"}
    stored = scene.tables["verdicts"]["g4"].record
    assert stored.phase == "blocked"
    assert [c.reason for c in stored.candidates] == [
        f"group g{number} has it for itself (exclusion)" for number in (1, 2, 3)
    ]
