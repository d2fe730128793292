"""Operators' wishes about mirrored disks: refused with a reason, begun on one server, ended."""

import pytest

from reconciler.decide.mirror_status import MirrorResult
from reconciler.decide.records import MirrorRecord, OperationKind, OperationPhase, StoreLife
from reconciler.decide.snapshot import Stored
from tests.decide.build import KEYS, Scene, boot, granted, result, written


def scene(*holders: str, owner: str | None = "n1") -> Scene:
    made = Scene().group("web", servers=["n1", "n2"]).mirrored().copies(*(holders or ("n1", "n2")))
    made.side("n1", serving=owner == "n1").side("n2")
    return made.own(owner).status("n1", 1) if owner else made


def asked(made: Scene, kind: OperationKind, to: str | None = None, **more: object) -> Scene:
    return made.operation(kind, "resource/data", to=to, **more)


def refusal(made: Scene) -> str:
    told = result(made.decide())
    assert told is not None
    assert told[0] is OperationPhase.FAILED, told
    return told[1]


def begun_on(made: Scene) -> str | None:
    record = written(made.decide(), KEYS.operation("01"))
    assert record is not None
    assert record.phase is OperationPhase.RUNNING, record
    assert record.begun
    return record.to  # type: ignore[no-any-return]


def done(made: Scene, server: str, *, ok: bool = True, **more: object) -> Scene:
    """That server's agent says what came of it."""
    old = made.mirror_status[server, "data"]
    told = MirrorResult(operation="01", ok=ok, text="so it is", generation="g1")
    known = {k: v for k, v in old.model_dump().items() if k not in ("server", "schema_number")}
    return made.side(server, **{**known, "results": (told,), **more})


KIND = OperationKind
SERVED = (KIND.MIRROR_RESYNC, KIND.MIRROR_VERIFY, KIND.MIRROR_LIMIT)


@pytest.mark.parametrize("kind", SERVED)
def test_the_side_that_serves_does_it(kind: OperationKind) -> None:
    assert begun_on(asked(scene(), kind)) == "n1"
    assert "nobody serves data" in refusal(asked(scene(owner=None), kind))


def test_what_is_no_mirror_has_no_sides() -> None:
    made = Scene().resource("ip").operation(KIND.MIRROR_RESYNC, "resource/ip")
    assert "no mirrored disk" in refusal(made)
    assert "no resource" in refusal(Scene().operation(KIND.MIRROR_RESYNC, "resource/x"))


def test_the_result_of_the_agent_ends_the_wish() -> None:
    made = asked(scene(), KIND.MIRROR_RESYNC, to="n1", phase=OperationPhase.RUNNING)
    assert result(made.decide()) is None
    assert result(done(made, "n1").decide()) == (OperationPhase.DONE, "so it is")
    assert result(done(made, "n1", ok=False).decide()) == (OperationPhase.FAILED, "so it is")
    assert result(done(made, "n1", boot_id=boot("n1", 9)).decide()) is None


def test_a_server_that_went_away_ends_the_wish() -> None:
    made = asked(scene(), KIND.MIRROR_ISOLATE, to="n2", phase=OperationPhase.RUNNING)
    assert "n2 is silent" in refusal(made.silence("n2").fenced("n2", covers=()))


def test_only_the_side_that_does_not_serve_is_isolated() -> None:
    assert begun_on(asked(scene(), KIND.MIRROR_ISOLATE, "n2", for_s=60)) == "n2"
    assert "n1 serves data" in refusal(asked(scene(), KIND.MIRROR_ISOLATE, "n1", for_s=60))
    assert "at most" in refusal(asked(scene(), KIND.MIRROR_ISOLATE, "n2", for_s=1e9))
    assert "n3 has no side" in refusal(asked(scene(), KIND.MIRROR_ISOLATE, "n3", for_s=60))
    assert "n2 is silent" in refusal(
        asked(scene().silence("n2").fenced("n2", covers=()), KIND.MIRROR_ISOLATE, "n2", for_s=60)
    )


def test_the_only_good_copy_is_never_given_up() -> None:
    assert begun_on(asked(scene("n1"), KIND.MIRROR_DISCARD, "n2")) == "n2"
    assert "n1 serves data" in refusal(asked(scene("n1"), KIND.MIRROR_DISCARD, "n1"))
    only = scene("n1", owner=None).own(None)
    assert "only n1 has all" in refusal(asked(only, KIND.MIRROR_DISCARD, "n1"))


def lost_owner() -> Scene:
    """n1 alone had all data, and is off."""
    return scene("n1").silence("n1").fenced("n1")


def test_data_is_given_up_only_when_nothing_else_is_left() -> None:
    made = scene("n1")
    assert "n1 owns group web" in refusal(asked(made, KIND.MIRROR_PROMOTE, "n2"))
    made = scene("n1").own(None)
    assert "n1 is there and has all data" in refusal(asked(made, KIND.MIRROR_PROMOTE, "n2"))
    made = Scene().group("web", servers=["n1", "n2"]).mirrored().side("n2")
    assert "never served" in refusal(asked(made, KIND.MIRROR_PROMOTE, "n2"))


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ({"fresh": True}, "nothing was ever copied"),
        ({"consistent": False}, "unfinished target"),
        ({"engine": False}, "does not say"),
        ({"boot_id": "other"}, "does not say"),
    ],
)
def test_a_side_that_holds_no_moment_is_not_promoted(side: dict[str, object], told: str) -> None:
    made = lost_owner().side("n2", **side)
    assert told in refusal(asked(made, KIND.MIRROR_PROMOTE, "n2"))


def test_a_promotion_is_in_the_record_with_who_and_why_and_then_the_group_starts() -> None:
    made = lost_owner()
    assert begun_on(asked(made, KIND.MIRROR_PROMOTE, "n2")) == "n2"
    running = {"to": "n2", "phase": OperationPhase.RUNNING, "begun": True, "why": "n1 burnt down"}
    made.operation(KIND.MIRROR_PROMOTE, "resource/data", **running)
    decision = done(made, "n2").decide()
    record = written(decision, KEYS.mirror("data"))
    assert isinstance(record, MirrorRecord)
    assert (record.servers, record.generation) == (("n2",), "g1")
    assert (record.forced_by, record.forced_why) == ("alice", "n1 burnt down")
    assert record.given_up == ("n1",)
    write = next(w for w in decision.writes if w.key == KEYS.mirror("data"))
    assert {key for key, _ in write.depends} == {KEYS.group("web"), KEYS.release("web")}
    assert write.reason is not None
    assert write.reason.name == "mirror_forced"
    assert granted(decision) is None
    ended = result(decision)
    assert ended is not None
    assert ended[0] is OperationPhase.DONE
    new = granted(made.store(decision).decide())
    assert new is not None
    assert new.owner == "n2"


def test_a_good_side_that_came_back_meanwhile_ends_the_promotion() -> None:
    made = lost_owner()
    running = {"to": "n2", "phase": OperationPhase.RUNNING, "begun": True}
    made.operation(KIND.MIRROR_PROMOTE, "resource/data", **running)
    made.own(None).session("n1", boot_id=boot("n1", 2)).hear("n1", boot_id=boot("n1", 2))
    decision = done(made, "n2").decide()
    assert written(decision, KEYS.mirror("data")) is None
    ended = result(decision)
    assert ended is not None
    assert "n1 is there and has all data" in ended[1]


def test_a_wish_that_has_begun_is_not_taken_back() -> None:
    made = asked(scene(), KIND.MIRROR_RESYNC, to="n1", phase=OperationPhase.RUNNING)
    made.operation(KIND.CANCEL, "operation/01", id="02")
    told = result(made.decide(), "02")
    assert told is not None
    assert "under way already" in told[1]


def test_what_follows_with_all_data_has_nothing_to_give_up() -> None:
    made = scene("n1", "n2").side("n2", connected=True)
    assert "n2 follows" in refusal(asked(made, KIND.MIRROR_DISCARD, "n2"))
    split = scene("n1").side("n2", connected=True)
    assert begun_on(asked(split, KIND.MIRROR_DISCARD, "n2")) == "n2"


@pytest.mark.parametrize("kind", [KIND.MIRROR_RESYNC, KIND.MIRROR_VERIFY])
def test_a_snapshot_is_neither_copied_to_nor_compared(kind: OperationKind) -> None:
    made = scene("n1").side("n2", isolated=True)
    assert refusal(asked(made, kind)).endswith("clusterctl mirror rejoin data --server n2")


def hybrid() -> Scene:
    made = Scene(servers=("n1", "n2", "n3", "n4")).server_group("a", "n1", "n2")
    made.server_group("b", "n3", "n4").group("web", serverGroups=["a", "b"])
    made.mirrored(between="server-groups", hybrid=True).copies("a", "b")
    return made.own("n1", epoch=2).own("n3", "web-standby", 3)


@pytest.mark.parametrize("kind", [KIND.MIRROR_ISOLATE, KIND.MIRROR_REJOIN, KIND.MIRROR_DISCARD])
def test_of_a_hybrid_disk_only_the_current_server_is_asked(kind: OperationKind) -> None:
    assert begun_on(asked(hybrid(), kind, "n3", for_s=60)) == "n3"
    told = refusal(asked(hybrid(), kind, "n4", for_s=60))
    assert told == "n3 has the disk that n4 shares: name that server"
    nobody = hybrid().own(None, "web-standby", 3)
    told = refusal(asked(nobody, kind, "n4", for_s=60))
    assert told.startswith("nobody has the disk of n4 now")
    assert "clusterctl move group/web-standby --to n4" in told


def test_a_side_that_no_record_knows_after_a_restore_can_be_promoted() -> None:
    made = scene("n1", owner=None)
    del made.tables["mirrors"]["data"]
    assert "never served" in refusal(asked(made, KIND.MIRROR_PROMOTE, "n2"))
    made.store_life = Stored(StoreLife(store_id="", generation=1), 50, made.now)
    assert begun_on(asked(made, KIND.MIRROR_PROMOTE, "n2")) == "n2"
    made = asked(made, KIND.MIRROR_PROMOTE, to="n2", phase=OperationPhase.RUNNING)
    record = written(done(made, "n2").decide(), KEYS.mirror("data"))
    assert isinstance(record, MirrorRecord)
    assert (record.servers, record.given_up, record.epoch) == (("n2",), (), 1 << 48)
