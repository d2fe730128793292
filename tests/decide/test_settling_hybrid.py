"""After a backup of the store, a hybrid disk: one side's engine says what it has, the disk of the
other side was read while nobody had it."""

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.decide.records import MirrorRecord, StoreLife
from reconciler.decide.shared_sides import at_rest, holder, roles
from reconciler.decide.snapshot import Stored
from tests.decide.build import KEYS, Scene, written

FLOOR = 1 << 48
MAIN, DERIVED = "web", "web-standby"
NOW = {"store_generation": 1, "roles": (FLOOR, FLOOR + 1)}
NEWER = {"generation": "g2", "ancestors": ("g1",)}
READ = {"engine": False, "at_rest": True}


def restored() -> Scene:
    """The backup says that both had all data. n3 follows; the disk of a has newer data."""
    made = Scene(servers=("n1", "n2", "n3", "n4")).server_group("a", "n1", "n2")
    made.server_group("b", "n3", "n4").group(MAIN, serverGroups=["a", "b"])
    made.mirrored(between="server-groups", hybrid=True).copies("a", "b")
    made.store_life = Stored(StoreLife(store_id="", generation=1), 50, made.now)
    made.own(None, MAIN, FLOOR, previous_owner="n1").own("n3", DERIVED, FLOOR + 1)
    made.side("n3", **NOW).side("n4", engine=False, store_generation=1)
    return made.side("n1", **NOW, **READ, **NEWER).side("n2", **NOW, **READ, **NEWER)


def settled(made: Scene) -> MirrorRecord | None:
    record = written(made.decide(), KEYS.mirror("data"))
    return record if isinstance(record, MirrorRecord) else None


def test_an_engine_and_a_disk_at_rest_settle_it() -> None:
    record = settled(restored())
    assert record is not None
    assert (record.servers, record.generation, record.epoch) == (("a",), "g2", FLOOR)


def test_one_server_of_the_resting_side_is_enough() -> None:
    made = restored()
    del made.mirror_status["n2", "data"]
    assert settled(made) is not None


def test_its_write_fails_when_either_role_was_given_meanwhile() -> None:
    (found,) = (w for w in restored().decide().writes if w.key == KEYS.mirror("data"))
    guarded = {key for key, _ in found.depends}
    assert {KEYS.group(MAIN), KEYS.group(DERIVED), KEYS.release(DERIVED)} <= guarded


def old_roles(made: Scene) -> Scene:
    """n1 read the disk, then it had the role itself, and n3 has it again."""
    made.own("n3", DERIVED, FLOOR + 5)
    return made.side("n3", **{**NOW, "roles": (FLOOR, FLOOR + 5)})


SPOILED: dict[str, Callable[[Scene], Any]] = {
    "old roles": old_roles,
    "an old engine": lambda made: made.side("n3", **{**NOW, "roles": (FLOOR, FLOOR - 3)}),
    "another engine": lambda made: made.own("n4", DERIVED, FLOOR + 1),
    "an old store": lambda made: made.side("n3", **{**NOW, "store_generation": 0}),
    "two disks": lambda made: made.side("n2", **NOW, **READ),
    "both lack data": lambda made: made.side("n3", **{**NOW, "generation": "g9"}),
    "in use": lambda made: made.own("n1", MAIN, FLOOR),
    "not read": lambda made: [
        made.side(n, **NOW, **{**READ, "at_rest": False}, **NEWER) for n in ("n1", "n2")
    ],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_may_not_be_true_any_more_settles_nothing(spoil: Callable[[Scene], Any]) -> None:
    made = restored()
    spoil(made)
    assert settled(made) is None


def test_a_record_that_cannot_be_read_settles_nothing() -> None:
    made = restored()
    made.unreadable.add(KEYS.release(DERIVED))
    assert settled(made) is None


def test_who_has_the_disk_of_a_server_group() -> None:
    snapshot = restored().snapshot()
    found = {server: holder(snapshot, MAIN, server) for server in ("n1", "n2", "n3", "n4")}
    assert found == {"n1": None, "n2": None, "n3": "n3", "n4": "n3"}
    assert at_rest(snapshot, MAIN, "n2") == roles(snapshot, MAIN) == (FLOOR, FLOOR + 1)
    assert at_rest(snapshot, MAIN, "n4") is None
    gone = restored().no_session("n3").silence("n3")
    assert at_rest(gone.snapshot(), MAIN, "n4") is None
    assert at_rest(gone.fenced("n3").snapshot(), MAIN, "n4") == (FLOOR, FLOOR + 1)


def test_without_a_hybrid_disk_there_are_no_roles() -> None:
    snapshot = Scene().group(MAIN, servers=["n1", "n2"]).mirrored().own("n1").snapshot()
    assert (roles(snapshot, MAIN), at_rest(snapshot, MAIN, "n2")) == (None, None)
    assert holder(snapshot, MAIN, "n1") is None
