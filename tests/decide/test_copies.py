"""A server without all data of a group's mirrored disks is no candidate, and the reason is told."""

from reconciler.decide.impact import preview
from reconciler.decide.keys import Keys
from reconciler.decide.placement import Placing, candidates, choose
from reconciler.decide.records import OperationKind, OperationPhase, Phase
from reconciler.decide.stored import StoredRecords
from tests.decide.build import KEYS, Scene, boot, granted, result, verdict


def mirrored(*holders: str) -> Scene:
    scene = Scene().group("web", servers=["n1", "n2"]).mirrored()
    return scene.copies(*holders) if holders else scene


def reasons(scene: Scene, **more: object) -> dict[str, str]:
    found = candidates(scene.snapshot(), "web", Placing(**more))  # type: ignore[arg-type]
    return {c.server: c.reason for c in found if not c.eligible}


def test_a_mirror_that_was_never_built_keeps_nobody_out() -> None:
    assert reasons(mirrored()) == {}


def test_both_have_all_data() -> None:
    assert reasons(mirrored("n1", "n2")) == {}


def test_a_stale_server_is_no_candidate_whoever_wishes_it() -> None:
    scene = mirrored("n1")
    assert reasons(scene) == {"n2": "data: only n1 has all acknowledged data"}
    assert reasons(scene, by_operator=True) == reasons(scene)


def test_that_it_is_away_is_said_before_what_it_lacks() -> None:
    assert reasons(mirrored("n1").silence("n2"))["n2"] == "it is silent"


def test_a_record_that_cannot_be_read_is_not_absent() -> None:
    scene = mirrored("n1")
    del scene.tables["mirrors"]["data"]
    scene.unreadable.add(KEYS.mirror("data"))
    assert set(reasons(scene)) == {"n1", "n2"}


def test_what_a_server_says_of_its_side_can_only_speak_against_it() -> None:
    told = "this side is isolated as a snapshot"
    assert reasons(mirrored("n1", "n2").side("n2", unfit=told)) == {"n2": f"data: {told}"}
    before = mirrored("n1", "n2").side("n2", unfit=told, boot_id=boot("n2", 7))
    assert reasons(before) == {}
    assert set(reasons(mirrored("n1").side("n2", consistent=True))) == {"n2"}


def test_a_stopped_disk_is_not_asked() -> None:
    scene = mirrored("n1").own("n1", stopped_resources=("data",))
    assert reasons(scene) == {}


def test_a_hybrid_disk_is_known_by_its_server_group() -> None:
    scene = Scene(servers=("n1", "n2", "n3")).server_group("a", "n1", "n2").server_group("b", "n3")
    scene.group("web", serverGroups=["a", "b"]).mirrored(between="server-groups").copies("a")
    assert reasons(scene) == {"n3": "data: only a has all acknowledged data"}


def test_nobody_is_tried_that_would_refuse_and_nothing_counts_as_a_failure() -> None:
    scene = mirrored("n1").own("n1").silence("n1").fenced("n1")
    decision = scene.decide()
    assert granted(decision) is None
    told = verdict(decision)
    assert told is not None
    assert told.phase is Phase.BLOCKED
    assert not told.failures
    assert "n2: data: only n1 has all acknowledged data" in [
        f"{c.server}: {c.reason}" for c in told.candidates
    ]
    assert told.next_command == "clusterctl mirror status data"


def test_the_one_that_has_the_data_gets_the_group_when_it_is_back() -> None:
    scene = mirrored("n1").own("n1").fenced("n1")
    scene.session("n1", boot_id=boot("n1", 2)).hear("n1", boot_id=boot("n1", 2))
    new = granted(scene.settle() and scene.decide()) or scene.tables["ownerships"]["web"].record
    assert new.owner == "n1"
    assert new.epoch == 2


def test_an_operators_move_is_refused_with_the_reason() -> None:
    scene = mirrored("n1").own("n1").status("n1", 1)
    scene.operation(OperationKind.MOVE, "group/web", to="n2")
    told = result(scene.decide())
    assert told is not None
    assert told[0] is OperationPhase.FAILED
    assert "only n1 has all acknowledged data" in told[1]


def test_failback_waits_for_the_data() -> None:
    scene = Scene().group("web", servers=["n1", "n2"], failback="auto").mirrored().copies("n2")
    scene.own("n2").status("n2", 1)
    assert granted(scene.decide()) is None
    scene.copies("n1", "n2")
    asked = granted(scene.decide())
    assert asked is not None
    assert asked.releasing


def test_the_forecast_of_a_diff_knows_it() -> None:
    scene = mirrored("n1").own("n1")
    snapshot = scene.snapshot()
    tables = {
        name: {key: stored.record for key, stored in getattr(snapshot, name).items()}
        for name in ("sessions", "releases", "fences", "verdicts", "mirrors")
    }
    records = StoredRecords(
        coordinator=snapshot.coordinator.record if snapshot.coordinator else None,
        groups={n: s.record for n, s in snapshot.ownerships.items()},
        **tables,
    )
    only_n2 = scene.group("web", servers=["n2"]).snapshot().specs
    assert preview(records, snapshot.specs, only_n2, scene.wall) == ()
    both = StoredRecords(
        **{
            **{f: getattr(records, f) for f in ("coordinator", "groups", *tables)},
            "mirrors": {"data": scene.copies("n1", "n2").tables["mirrors"]["data"].record},
        }
    )
    found = preview(both, snapshot.specs, only_n2, scene.wall)
    assert [(one.group, one.text) for one in found] == [("web", "moves from n1 to n2")]


def test_the_choice_is_among_the_others() -> None:
    scene = mirrored("n2")
    chosen = choose(candidates(scene.snapshot(), "web", Placing()))
    assert chosen is not None
    assert chosen.server == "n2"
    assert Keys("demo").mirror("data").endswith("run/mirrors/data")
