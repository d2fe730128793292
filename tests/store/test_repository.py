"""Spec revisions: atomic, attributable, kept for a while, never half a set."""

import asyncio
from collections.abc import Mapping

import pytest

from reconciler.adapters.memory import FINE, Fate, MemoryState, MemoryStore, NoFaults
from reconciler.decide.keys import Keys
from reconciler.ports.store import (
    CommitResult,
    Delete,
    Indeterminate,
    Transaction,
)
from reconciler.repository import (
    KEPT_REVISIONS,
    Conflict,
    Incomplete,
    SpecRepository,
    StoredSet,
    UnknownRevision,
    assemble,
)
from tests.integration.etcd_cluster import LoopClock
from tests.store.conftest import Rig

KEYS = Keys("demo")
WEB = "kind: Group # the web\nmetadata: {name: web}\n"


@pytest.fixture
def state() -> MemoryState:
    return MemoryState(LoopClock())


@pytest.fixture
def repository(state: MemoryState) -> SpecRepository:
    return SpecRepository(MemoryStore(state), KEYS, wall=lambda: 1000.0)


async def apply(repository: SpecRepository, texts: Mapping[str, str], **more: object) -> int:
    options: dict[str, object] = {"source": "cli", "author": "alice", "message": "because"}
    if "expected_head" not in more:
        options["expected_head"] = await repository.head()
    return await repository.apply(texts, **(options | more))  # type: ignore[arg-type]


def texts_of(stored: StoredSet) -> dict[str, str]:
    return {ref: found.text for ref, found in stored.objects.items()}


async def test_an_empty_repository_has_no_head_and_an_empty_set(repository: SpecRepository) -> None:
    assert await repository.head() is None
    assert await repository.read() == StoredSet(0)
    assert await repository.history() == ()


async def test_what_was_applied_is_read_back_exactly_as_written(repository: SpecRepository) -> None:
    assert await apply(repository, {"Group/web": WEB}) == 1
    stored = await repository.read()
    assert texts_of(stored) == {"Group/web": WEB}
    assert stored.objects["Group/web"].source == "cli"
    assert stored.info is not None
    assert (stored.info.author, stored.info.time, stored.info.message, stored.info.parent) == (
        "alice",
        1000.0,
        "because",
        0,
    )


async def test_an_apply_adds_replaces_and_removes_and_leaves_the_rest(
    repository: SpecRepository,
) -> None:
    await apply(repository, {"Group/a": "1", "Group/b": "1", "Group/c": "1"})
    await apply(repository, {"Group/a": "2", "Group/d": "2"}, remove={"Group/b", "Group/absent"})
    assert texts_of(await repository.read()) == {"Group/a": "2", "Group/c": "1", "Group/d": "2"}
    assert texts_of(await repository.read(1)) == {"Group/a": "1", "Group/b": "1", "Group/c": "1"}


async def test_applying_the_same_again_makes_no_revision(repository: SpecRepository) -> None:
    await apply(repository, {"Group/a": "1"})
    assert await apply(repository, {"Group/a": "1"}) == 1
    assert [info.revision for info in await repository.history()] == [1]


async def test_an_apply_computed_from_an_old_head_is_a_conflict(repository: SpecRepository) -> None:
    old = await repository.head()
    await apply(repository, {"Group/a": "1"})
    with pytest.raises(Conflict, match="at revision 1, not at 0"):
        await apply(repository, {"Group/a": "2"}, expected_head=old)
    assert texts_of(await repository.read()) == {"Group/a": "1"}


async def test_of_two_applies_from_the_same_head_one_wins(state: MemoryState) -> None:
    one, two = (SpecRepository(MemoryStore(state), KEYS) for _ in range(2))
    results = await asyncio.gather(
        apply(one, {"Group/a": "1"}, expected_head=None),
        apply(two, {"Group/a": "2"}, expected_head=None),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "int"]


async def test_an_object_of_another_source_is_a_conflict_unless_forced(
    repository: SpecRepository,
) -> None:
    await apply(repository, {"Group/a": "1"}, source="gitops")
    with pytest.raises(Conflict, match="belongs to source 'gitops'") as raised:
        await apply(repository, {"Group/a": "2", "Group/b": "2"})
    assert raised.value.owned == {"Group/a": "gitops"}
    with pytest.raises(Conflict):
        await apply(repository, {}, remove={"Group/a"})
    await apply(repository, {"Group/a": "2"}, force=True)
    assert (await repository.read()).objects["Group/a"].source == "cli"


async def test_a_rollback_is_a_new_revision_with_the_old_objects(
    repository: SpecRepository,
) -> None:
    await apply(repository, {"Group/a": "1"})
    await apply(repository, {"Group/a": "2", "Group/b": "2"})
    assert await repository.rollback(1, author="bob") == 3
    stored = await repository.read()
    assert texts_of(stored) == {"Group/a": "1"}
    assert stored.info is not None
    assert (stored.info.author, stored.info.rollback_of, stored.info.parent) == ("bob", 1, 2)
    with pytest.raises(UnknownRevision):
        await repository.rollback(99)


async def test_the_history_is_newest_first_and_bounded(
    state: MemoryState, repository: SpecRepository
) -> None:
    for number in range(KEPT_REVISIONS + 25):
        await apply(repository, {"Group/a": str(number), "Group/fixed": "0"})
    history = await repository.history()
    last = KEPT_REVISIONS + 25
    assert [info.revision for info in history] == list(range(last, last - KEPT_REVISIONS, -1))
    with pytest.raises(UnknownRevision):
        await repository.read(1)
    await repository.collect()
    kept = {item.key for item in state.list(KEYS.spec_object("")).items}
    assert len(kept) == KEPT_REVISIONS + 1
    assert len(state.list(KEYS.manifest("")).items) == KEPT_REVISIONS
    assert texts_of(await repository.read(last - KEPT_REVISIONS + 1))["Group/fixed"] == "0"


async def test_a_mirror_of_the_prefix_gives_the_same_set(
    state: MemoryState, repository: SpecRepository
) -> None:
    await apply(repository, {"Group/a": "1", "Group/b": "1"})
    mirror = {item.key: item.value for item in state.list(KEYS.root).items}
    assert assemble(KEYS, mirror.get) == await repository.read()
    assert assemble(KEYS, lambda _key: None) == StoredSet(0)
    del mirror[KEYS.spec_object((await repository.read()).objects["Group/a"].sha256)]
    with pytest.raises(Incomplete):
        assemble(KEYS, mirror.get)


class Spied(MemoryStore):
    """Calls `before` ahead of each commit."""

    async def before(self, transaction: Transaction) -> None: ...

    async def commit(self, transaction: Transaction, *, timeout_s: float = 2.0) -> CommitResult:
        await self.before(transaction)
        return await super().commit(transaction, timeout_s=timeout_s)


async def test_an_apply_of_2000_objects_is_invisible_until_its_one_flip(
    state: MemoryState,
) -> None:
    onlooker = SpecRepository(MemoryStore(state), KEYS)
    seen: list[int] = []
    flips: list[Transaction] = []

    class Store(Spied):
        async def before(self, transaction: Transaction) -> None:
            seen.append(len((await onlooker.read()).objects))
            if any(op.key == KEYS.head for op in transaction.operations):
                flips.append(transaction)

    repository = SpecRepository(Store(state), KEYS)
    texts = {f"Group/g{number}": f"number: {number}\n" for number in range(2000)}
    await apply(repository, texts)
    assert set(seen) == {0}
    assert len(flips) == 1
    assert texts_of(await onlooker.read()) == texts

    seen.clear()
    await apply(repository, {"Group/g7": "number: seven\n"})
    assert len(seen) == 2  # one batch with what changed, one flip


async def test_an_apply_that_dies_before_its_flip_changes_nothing(state: MemoryState) -> None:
    class Store(Spied):
        async def before(self, transaction: Transaction) -> None:
            if any(op.key == KEYS.head for op in transaction.operations):
                raise Indeterminate("cut here")

    repository = SpecRepository(MemoryStore(state), KEYS)
    await apply(repository, {"Group/a": "1"})
    with pytest.raises(Indeterminate):
        await apply(SpecRepository(Store(state), KEYS), {"Group/a": "2"})
    assert texts_of(await repository.read()) == {"Group/a": "1"}
    assert await repository.collect() == 2  # the object and the chunk that nobody names


async def test_a_collection_in_the_middle_of_an_apply_takes_nothing_from_it(
    state: MemoryState,
) -> None:
    collector = SpecRepository(MemoryStore(state), KEYS)
    collected: list[int] = []

    class Store(Spied):
        async def before(self, transaction: Transaction) -> None:
            if not collected and any(op.key == KEYS.head for op in transaction.operations):
                collected.append(await collector.collect())

    await apply(collector, {"Group/a": "1"})
    await apply(SpecRepository(Store(state), KEYS), {"Group/a": "2", "Group/b": "3"})
    assert collected == [3]
    assert texts_of(await collector.read()) == {"Group/a": "2", "Group/b": "3"}


async def test_a_batch_without_an_answer_is_written_again(state: MemoryState) -> None:
    class LosesFirstReply(NoFaults):
        lost = 0

        def fate(self, operation: str, key: str) -> Fate:
            if operation == "commit" and self.lost < 2:
                self.lost += 1
                return Fate(error=Indeterminate("no answer"))
            return FINE

    repository = SpecRepository(MemoryStore(state, faults=LosesFirstReply()), KEYS)
    await apply(repository, {"Group/a": "1"})
    assert texts_of(await repository.read()) == {"Group/a": "1"}


async def test_2000_objects_are_one_flip_on_each_store(rig: Rig) -> None:
    keys = Keys(rig.root.strip("/").replace("/", "-").replace("[", "-").replace("]", ""))
    repository = SpecRepository(rig.store, keys)
    texts = {f"Resource/r{number}": f"# {number}\n{'x: 1 ' * 100}\n" for number in range(2000)}
    assert await apply(repository, texts) == 1
    stored = await repository.read()
    assert texts_of(stored) == texts
    head = await rig.store.get(keys.head)
    assert head is not None
    assert head.create_revision == head.mod_revision
    await rig.store.commit(Transaction((), (Delete(keys.root, prefix=True),)))
    assert await apply(repository, {"Group/a": "1"}) == 1


START, OTHER = "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n"


async def test_files_are_stored_with_the_object_that_names_them(
    repository: SpecRepository, state: MemoryState
) -> None:
    files = {"Group/web": {"start.sh": START, "größe.sh": START}}
    await apply(repository, {"Group/web": WEB}, files=files)
    assert (await repository.read()).objects["Group/web"].files == files["Group/web"]
    stored = await MemoryStore(state).list(KEYS.spec_object(""))
    assert len(stored.items) == 2  # the object, and one content for both names


async def test_another_content_of_a_file_is_another_revision(repository: SpecRepository) -> None:
    for number, text in enumerate((START, OTHER, OTHER), 1):
        files = {"Group/web": {"start.sh": text}}
        assert await apply(repository, {"Group/web": WEB}, files=files) == min(number, 2)


async def test_a_rollback_brings_the_old_script_back(repository: SpecRepository) -> None:
    for text in (START, OTHER):
        await apply(repository, {"Group/web": WEB}, files={"Group/web": {"start.sh": text}})
    assert await repository.rollback(1) == 3
    assert (await repository.read()).objects["Group/web"].files == {"start.sh": START}


async def test_what_a_kept_revision_names_is_never_collected(
    repository: SpecRepository, state: MemoryState
) -> None:
    files = {"Group/web": {"start.sh": START}}
    await apply(repository, {"Group/web": WEB}, files=files)
    await apply(repository, {}, remove={"Group/web"})
    assert await repository.collect() == 0
    await repository.rollback(1)
    assert (await repository.read()).objects["Group/web"].files == files["Group/web"]


async def test_half_of_a_script_s_pieces_is_no_set(
    repository: SpecRepository, state: MemoryState
) -> None:
    await apply(repository, {"Group/web": WEB}, files={"Group/web": {"start.sh": START}})
    items = (await MemoryStore(state).list(KEYS.spec)).items
    values = {item.key: item.value for item in items if item.value != START.encode()}
    with pytest.raises(Incomplete, match=r"start\.sh"):
        assemble(KEYS, values.get)
