"""After a backup of the store: who has all data is what both sides have, or a person's word."""

from typing import Any

import pytest

from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.placement import Placing, candidates
from reconciler.decide.records import MirrorRecord, StoreLife
from reconciler.decide.settling import holders_of
from reconciler.decide.snapshot import Stored
from tests.decide.build import KEYS, Scene, written

FLOOR = 1 << 48


def side(**more: Any) -> MirrorStatus:
    values = {"resource": "data", "server": "n1", "boot_id": "b", "generation": "g1"}
    return MirrorStatus(**(values | more))


NEWER = {"generation": "g2", "ancestors": ("g1",)}


@pytest.mark.parametrize(
    ("n1", "n2", "holders"),
    [
        ({}, {}, ("n1", "n2")),
        (NEWER, {}, ("n1",)),
        ({}, NEWER, ("n2",)),
        ({}, {"generation": "g9"}, ()),
        ({}, {"consistent": False}, ("n1",)),
        ({"fresh": True, "generation": "g0"}, {}, ("n2",)),
        ({"discard": True}, {"generation": "g9"}, ("n2",)),
        ({"fresh": True}, {"fresh": True}, ()),
        ({}, {"unfit": "its disk failed"}, ()),
        ({"served": True, "asynchronous": True}, {"asynchronous": True}, ("n1",)),
        ({"served": True}, {}, ("n1", "n2")),
        ({"to_copy": 1, "asynchronous": True}, {"asynchronous": True}, ("n1",)),
    ],
)
def test_what_both_sides_have_says_it(
    n1: dict[str, Any], n2: dict[str, Any], holders: tuple[str, ...]
) -> None:
    assert holders_of({"n1": side(**n1), "n2": side(**n2)}) == holders


def test_one_side_alone_says_nothing() -> None:
    assert holders_of({"n1": side()}) == ()


def restored(doubted: tuple[str, ...] = ()) -> Scene:
    """The backup says that both had all data; n1 has newer data by now."""
    made = Scene().group("web", servers=["n1", "n2"]).mirrored().copies("n1", "n2")
    made.store_life = Stored(StoreLife(store_id="", generation=1, doubted=doubted), 50, made.now)
    made.own(None, epoch=FLOOR).side("n1", store_generation=1, **NEWER)
    return made.side("n2", store_generation=1)


def settled(made: Scene) -> MirrorRecord | None:
    record = written(made.decide(), KEYS.mirror("data"))
    return record if isinstance(record, MirrorRecord) else None


def test_an_old_record_makes_nobody_a_candidate() -> None:
    found = candidates(restored().snapshot(), "web", Placing())
    assert {c.server for c in found if not c.eligible} == {"n1", "n2"}
    assert "not settled since the store was restored" in found[0].reason


def test_the_record_is_settled_by_what_both_sides_have() -> None:
    record = settled(restored())
    assert record is not None
    assert (record.servers, record.generation, record.epoch) == (("n1",), "g2", FLOOR)


def test_nothing_is_settled_on_half_the_knowledge() -> None:
    assert settled(restored(doubted=("n3",))) is None
    assert settled(restored().side("n2", store_generation=0)) is None
    assert settled(restored().side("n1", store_generation=1, serving=True, **NEWER)) is None
    missing = restored()
    del missing.mirror_status["n2", "data"]
    assert settled(missing) is None
    assert settled(restored().own("n1", epoch=FLOOR + 1)) is None


def test_what_is_settled_stays() -> None:
    made = restored()
    made.store(made.decide())
    assert settled(made) is None


def lost() -> Scene:
    """A backup of before the mirror was ever served."""
    made = restored()
    del made.tables["mirrors"]["data"]
    return made


def test_a_record_that_the_backup_lacks_is_settled_too() -> None:
    assert "not settled since" in candidates(lost().snapshot(), "web", Placing())[0].reason
    record = settled(lost())
    assert record is not None
    assert (record.servers, record.generation, record.epoch) == (("n1",), "g2", FLOOR)


def test_a_mirror_that_nobody_ever_served_needs_no_record() -> None:
    made = lost().side("n1", store_generation=1, fresh=True).side("n2", engine=False)
    assert settled(made) is None
    assert all(c.eligible for c in candidates(made.snapshot(), "web", Placing()))
    before = lost()
    before.store_life = None
    assert settled(before) is None
