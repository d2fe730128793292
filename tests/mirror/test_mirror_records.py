"""The record is written by the owner of the group only, at its epoch, and compared."""

from typing import Any

import pytest

from reconciler.adapters.memory import MemoryStore
from reconciler.decide.records import MirrorRecord, Ownership, Release
from reconciler.loops.mirror_records import StoreMirrorRecords
from reconciler.loops.state import AgentState
from reconciler.mirror.decide import promotion
from reconciler.mirror.decide.promotion import Change, Current
from reconciler.ports.mirrors import RecordLost, RecordUnavailable
from reconciler.ports.store import CommitResult, Transaction
from tests.decide.build import KEYS, boot
from tests.loops.test_act import World

EPOCH = 7


def _owned(world: World, server: str, epoch: int = EPOCH) -> None:
    record = Ownership(group="db", epoch=epoch, owner=server, boot_id=boot(server), nonce="x")
    world.put(KEYS.group("db"), record.to_bytes())


def _alone(server: str, generation: str) -> Change:
    return lambda found: promotion.alone(found, server, EPOCH, generation)


async def test_the_owner_writes_and_reads_who_is_current() -> None:
    world = World()
    _owned(world, "n1")
    records = StoreMirrorRecords(world.agent("n1"))
    assert await records.read("data") is None
    assert await records.commit("data", "db", EPOCH, _alone("n1", "g2")) == Current(
        ("n1",), "g2", EPOCH
    )
    assert await records.read("data") == Current(("n1",), "g2", EPOCH)
    # an answer that was lost: asked once more, nothing changes
    await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    assert await records.read("data") == Current(("n1",), "g2", EPOCH)


@pytest.mark.parametrize("server", ["n2", "n1"])
async def test_whoever_does_not_own_the_group_at_this_epoch_writes_nothing(server: str) -> None:
    world = World()
    _owned(world, server, EPOCH if server == "n2" else EPOCH + 1)
    records = StoreMirrorRecords(world.agent("n1"))
    with pytest.raises(RecordLost):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    assert world.memory.get(KEYS.mirror("data")) is None


async def test_an_earlier_boot_of_the_owner_and_a_released_epoch_write_nothing() -> None:
    world = World()
    record = Ownership(group="db", epoch=EPOCH, owner="n1", boot_id="an-earlier-boot", nonce="x")
    world.put(KEYS.group("db"), record.to_bytes())
    records = StoreMirrorRecords(world.agent("n1"))
    with pytest.raises(RecordLost):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    _owned(world, "n1")
    release = Release(group="db", epoch=EPOCH, server="n1", boot_id=boot("n1"))
    world.put(KEYS.release("db"), release.to_bytes())
    with pytest.raises(RecordLost):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))


async def test_a_side_that_is_not_in_the_record_cannot_put_itself_there() -> None:
    world = World()
    _owned(world, "n1")
    other = MirrorRecord(resource="data", servers=("n2",), generation="g1", epoch=3)
    world.put(KEYS.mirror("data"), other.to_bytes())
    records = StoreMirrorRecords(world.agent("n1"))
    with pytest.raises(RecordLost, match="record says otherwise"):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))


async def test_an_ownership_that_moves_between_reading_and_writing_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    _owned(world, "n1")
    agent = world.agent("n1")
    commit = MemoryStore.commit

    async def moved_first(
        self: MemoryStore, transaction: Transaction, *, timeout_s: float = 2.0
    ) -> CommitResult:
        _owned(world, "n2", EPOCH + 1)
        return await commit(self, transaction, timeout_s=timeout_s)

    monkeypatch.setattr(MemoryStore, "commit", moved_first)
    records = StoreMirrorRecords(agent)
    with pytest.raises(RecordUnavailable):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    with pytest.raises(RecordLost):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    assert world.memory.get(KEYS.mirror("data")) is None


async def test_a_record_that_cannot_be_read_is_unknown_never_absent() -> None:
    world = World()
    _owned(world, "n1")
    world.put(KEYS.mirror("data"), b"not a record")
    records = StoreMirrorRecords(world.agent("n1"))
    with pytest.raises(RecordUnavailable):
        await records.read("data")
    with pytest.raises(RecordUnavailable):
        await records.commit("data", "db", EPOCH, _alone("n1", "g2"))


async def test_that_data_was_given_up_stays_in_the_record_until_both_are_current() -> None:
    world = World()
    _owned(world, "n1")
    forced = MirrorRecord(
        resource="data",
        servers=("n1",),
        generation="g1",
        epoch=EPOCH - 1,
        forced_by="alice@here",
        given_up=("n2",),
    )
    world.put(KEYS.mirror("data"), forced.to_bytes())
    records = StoreMirrorRecords(world.agent("n1"))

    def stored() -> MirrorRecord:
        item = world.memory.get(KEYS.mirror("data"))
        assert item is not None
        return MirrorRecord.from_bytes(item.value)

    await records.commit("data", "db", EPOCH, _alone("n1", "g2"))
    assert (stored().forced_by, stored().given_up) == ("alice@here", ("n2",))
    await records.commit("data", "db", EPOCH, lambda c: promotion.both(c, "n1", "n2", EPOCH, "g2"))
    assert (stored().forced_by, stored().given_up) == ("", ())


class _Asked:
    """A store that counts what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for name in ("get", "commit"):
            monkeypatch.setattr(MemoryStore, name, self._counting(name, getattr(MemoryStore, name)))

    def _counting(self, name: str, real: Any) -> Any:
        async def counted(*args: Any, **more: Any) -> Any:
            self.calls.append(name)
            return await real(*args, **more)

        return counted


def _heard(world: World, agent: AgentState) -> None:
    """The agent's watch has told it of everything."""
    for key in (KEYS.group("db"), KEYS.release("db"), KEYS.mirror("data")):
        item = world.memory.get(key)
        agent.mirror.put(key, item, item.mod_revision if item is not None else 0)


async def test_what_the_agent_heard_is_enough_while_it_is_true(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, asked = World(), _Asked(monkeypatch)
    agent = world.agent("n1")
    _owned(world, "n1")
    _heard(world, agent)
    await StoreMirrorRecords(agent).commit("data", "db", EPOCH, _alone("n1", "g2"))
    assert asked.calls == ["commit"]


async def test_what_it_heard_late_is_read_anew_and_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, asked = World(), _Asked(monkeypatch)
    agent = world.agent("n1")
    records = StoreMirrorRecords(agent)
    both = MirrorRecord(resource="data", servers=("n1", "n2"), generation="g1", epoch=EPOCH)
    _owned(world, "n1")
    world.put(KEYS.mirror("data"), both.to_bytes())
    _heard(world, agent)
    # written meanwhile, and not heard of yet
    world.put(KEYS.mirror("data"), both.model_copy(update={"generation": "g2"}).to_bytes())
    await records.commit("data", "db", EPOCH, _alone("n1", "g3"))
    assert await records.read("data") == Current(("n1",), "g3", EPOCH)
    assert asked.calls[:2] == ["commit", "get"]
    # what it heard says that this is written already, and that is over
    _heard(world, agent)
    world.put(KEYS.mirror("data"), both.to_bytes())
    await records.commit("data", "db", EPOCH, _alone("n1", "g3"))
    assert await records.read("data") == Current(("n1",), "g3", EPOCH)
    # the group went to another server
    _owned(world, "n2", EPOCH + 1)
    with pytest.raises(RecordLost):
        await records.commit("data", "db", EPOCH, _alone("n1", "g4"))
    assert await records.read("data") == Current(("n1",), "g3", EPOCH)
