"""The promises of the store port, kept by the in-memory twin and by real etcd alike."""

import asyncio

import pytest

from reconciler.ports.store import (
    CommitResult,
    Delete,
    LeaseLost,
    Put,
    Store,
    Transaction,
    Unchanged,
)
from tests.store.conftest import Rig
from tests.store.watching import Watched


async def put(store: Store, key: str, value: bytes, lease: int = 0) -> CommitResult:
    return await store.commit(Transaction((), (Put(key, value, lease),)))


async def test_a_key_is_read_back_with_its_revisions(rig: Rig) -> None:
    key = rig.root + "a"
    assert await rig.store.get(key) is None
    first = await put(rig.store, key, b"1")
    second = await put(rig.store, key, b"2")
    found = await rig.store.get(key)
    assert found is not None
    assert (found.key, found.value, found.lease) == (key, b"2", 0)
    assert (found.create_revision, found.mod_revision) == (first.revision, second.revision)
    assert second.revision > first.revision


async def test_a_deleted_key_starts_anew(rig: Rig) -> None:
    key = rig.root + "a"
    await put(rig.store, key, b"1")
    await rig.store.commit(Transaction((), (Delete(key),)))
    assert await rig.store.get(key) is None
    again = await put(rig.store, key, b"2")
    found = await rig.store.get(key)
    assert found is not None
    assert found.create_revision == again.revision


async def test_deleting_nothing_is_no_revision(rig: Rig) -> None:
    before = await put(rig.store, rig.root + "a", b"1")
    after = await rig.store.commit(Transaction((), (Delete(rig.root + "absent"),)))
    assert after.succeeded
    assert after.revision == before.revision


async def test_a_prefix_is_listed_in_key_order_and_nothing_beside_it(rig: Rig) -> None:
    for name in ("p/b", "p/a", "p0", "o/a"):
        await put(rig.store, rig.root + name, name.encode())
    listing = await rig.store.list(rig.root + "p/")
    assert [item.key for item in listing.items] == [rig.root + "p/a", rig.root + "p/b"]
    latest = await rig.store.get(rig.root + "o/a")
    assert latest is not None
    assert listing.revision >= latest.mod_revision


async def test_a_prefix_of_many_pages_is_complete(rig: Rig) -> None:
    names = [f"{rig.root}n/{number:05d}" for number in range(1300)]
    for start in range(0, len(names), 100):
        operations = tuple(Put(name, b"x") for name in names[start : start + 100])
        await rig.store.commit(Transaction((), operations))
    listing = await rig.store.list(rig.root + "n/")
    assert [item.key for item in listing.items] == names


async def test_a_prefix_is_deleted_at_one_revision(rig: Rig) -> None:
    await put(rig.store, rig.root + "p/a", b"1")
    await put(rig.store, rig.root + "p/b", b"1")
    await put(rig.store, rig.root + "q", b"1")
    await rig.store.commit(Transaction((), (Delete(rig.root + "p/", prefix=True),)))
    assert [item.key for item in (await rig.store.list(rig.root)).items] == [rig.root + "q"]


async def test_all_operations_happen_at_one_revision_or_none(rig: Rig) -> None:
    a, b = rig.root + "a", rig.root + "b"
    await put(rig.store, a, b"1")
    stale = Transaction((Unchanged(a, 0),), (Put(a, b"2"), Put(b, b"2")))
    refused = await rig.store.commit(stale)
    assert not refused.succeeded
    held = refused.found[a]
    assert held is not None
    assert held.value == b"1"
    assert await rig.store.get(b) is None

    current = Transaction((Unchanged(a, held.mod_revision),), (Put(a, b"2"), Put(b, b"2")))
    done = await rig.store.commit(current)
    assert done.succeeded
    listing = await rig.store.list(rig.root)
    assert {item.mod_revision for item in listing.items} == {done.revision}


async def test_a_failed_compare_says_which_keys_are_absent(rig: Rig) -> None:
    a, b = rig.root + "a", rig.root + "b"
    refused = await rig.store.commit(
        Transaction((Unchanged(a, 0), Unchanged(b, 7)), (Put(a, b"1"),))
    )
    assert not refused.succeeded
    assert refused.found == {a: None, b: None}


async def test_an_overwrite_changes_what_a_guard_compares(rig: Rig) -> None:
    key = rig.root + "coordinator"
    first = await put(rig.store, key, b"n1")
    deposed = Transaction((Unchanged(key, first.revision),), (Put(key, b"n2"),), guard=key)
    assert (await rig.store.commit(deposed)).succeeded
    late = Transaction((Unchanged(key, first.revision),), (Put(rig.root + "group", b"x"),))
    assert not (await rig.store.commit(late)).succeeded


async def test_repeating_a_guarded_write_finds_its_own_value(rig: Rig) -> None:
    key = rig.root + "owner"
    write = Transaction((Unchanged(key, 0),), (Put(key, b"nonce-1"),), guard=key)
    first = await rig.store.commit(write)
    second = await rig.store.commit(write)
    assert first.succeeded
    assert second.succeeded
    assert second.revision == first.revision
    other = Transaction((Unchanged(key, 0),), (Put(key, b"nonce-2"),), guard=key)
    assert not (await rig.store.commit(other)).succeeded


async def test_only_one_of_many_competing_writers_wins(rig: Rig) -> None:
    key = rig.root + "owner"
    clients = [rig.client() for _ in range(5)]
    results = await asyncio.gather(
        *(
            client.commit(
                Transaction((Unchanged(key, 0),), (Put(key, f"n{i}".encode()),), guard=key)
            )
            for i, client in enumerate(clients)
        )
    )
    assert [result.succeeded for result in results].count(True) == 1


@pytest.mark.parametrize(
    "transaction",
    [
        Transaction((), tuple(Put(f"/x/{i}", b"") for i in range(129))),
        Transaction((), (Put("/x", b"1"), Put("/x", b"2"))),
        Transaction((), (Delete("/x/", prefix=True), Put("/x/a", b"2"))),
        Transaction((), (Put("/x", b"." * 1_600_000),)),
        Transaction((), (Put("/x", b"1"),), guard="/x"),
        Transaction((Unchanged("/x", 0),), (Put("/x", b"1"),), guard="/y"),
    ],
    ids=["too many", "twice", "put and delete", "too large", "repeatable", "guard not put"],
)
async def test_a_transaction_that_cannot_work_is_refused_before_it_is_sent(
    rig: Rig, transaction: Transaction
) -> None:
    with pytest.raises(ValueError, match=r"."):
        await rig.store.commit(transaction)


async def test_a_lease_ends_with_its_keys_and_a_watcher_learns_it(rig: Rig) -> None:
    watched = Watched(rig.store, rig.root)
    lease = await rig.store.grant(1)
    assert lease.ttl_s >= 1
    key = rig.root + "session"
    await put(rig.store, key, b"n1", lease.lease)
    await watched.until(lambda w: key in w.keys)
    await watched.until(lambda w: key not in w.keys)
    assert await rig.store.get(key) is None
    with pytest.raises(LeaseLost):
        await rig.store.keep_alive(lease.lease)
    with pytest.raises(LeaseLost):
        await put(rig.store, key, b"n1", lease.lease)
    await watched.close()


async def test_a_lease_proof_counts_from_before_it_was_sent(rig: Rig) -> None:
    before = asyncio.get_running_loop().time()
    granted = await rig.store.grant(5)
    renewed = await rig.store.keep_alive(granted.lease)
    after = asyncio.get_running_loop().time()
    assert before <= granted.sent_at <= renewed.sent_at <= after
    assert (renewed.lease, renewed.ttl_s) == (granted.lease, granted.ttl_s)


async def test_a_revoked_lease_is_gone_and_can_be_revoked_again(rig: Rig) -> None:
    lease = await rig.store.grant(5)
    await put(rig.store, rig.root + "a", b"1", lease.lease)
    await put(rig.store, rig.root + "b", b"1", lease.lease)
    await put(rig.store, rig.root + "b", b"2")  # detaches
    await rig.store.revoke(lease.lease)
    await rig.store.revoke(lease.lease)
    assert [item.key for item in (await rig.store.list(rig.root)).items] == [rig.root + "b"]


async def test_a_watch_gives_the_prefix_first_and_then_each_change_in_order(rig: Rig) -> None:
    await put(rig.store, rig.root + "p/old", b"0")
    watched = Watched(rig.store, rig.root + "p/")
    await watched.until(lambda w: bool(w.batches))
    assert [key for key, _ in watched.changes] == [rig.root + "p/old"]
    other = rig.client()
    await put(other, rig.root + "p/a", b"1")
    await put(other, rig.root + "q", b"beside")
    await put(other, rig.root + "p/a", b"2")
    await other.commit(Transaction((), (Delete(rig.root + "p/old"),)))
    await watched.until(lambda w: rig.root + "p/old" not in w.keys)
    assert [(key, kv.value if kv else None) for key, kv in watched.changes[1:]] == [
        (rig.root + "p/a", b"1"),
        (rig.root + "p/a", b"2"),
        (rig.root + "p/old", None),
    ]
    revisions = [batch.revision for batch in watched.batches]
    assert revisions == sorted(revisions)
    await watched.close()


async def test_the_changes_of_one_transaction_come_in_one_batch(rig: Rig) -> None:
    watched = Watched(rig.store, rig.root)
    await watched.until(lambda w: bool(w.batches))
    operations = tuple(Put(f"{rig.root}{i}", b"x") for i in range(50))
    done = await rig.store.commit(Transaction((), operations))
    await watched.until(lambda w: bool(w.keys))
    assert len(watched.last.changes) == 50
    assert watched.last.revision == done.revision
    await watched.close()


async def test_a_silent_watch_still_gives_signs_of_life(rig: Rig) -> None:
    watched = Watched(rig.store, rig.root)
    await watched.until(lambda w: len(w.batches) >= 3)
    assert all(batch.stale_reason is None for batch in watched.batches)
    assert not watched.changes
    await watched.close()


async def test_compaction_does_not_hide_what_a_new_watch_shows(rig: Rig) -> None:
    await put(rig.store, rig.root + "a", b"1")
    last = await put(rig.store, rig.root + "a", b"2")
    await rig.compact(last.revision)
    watched = Watched(rig.store, rig.root)
    await watched.until(lambda w: bool(w.keys))
    assert watched.keys == {rig.root + "a": b"2"}
    await watched.close()


async def test_members_answer_and_one_leads(rig: Rig) -> None:
    members = await rig.store.members()
    assert all(member.reachable for member in members)
    assert [member.is_leader for member in members].count(True) == 1
