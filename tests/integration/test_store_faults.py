"""Three real members: one killed or frozen, the leader lost, quorum gone and back, links cut."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from urllib.parse import urlsplit

import pytest
from aetcd import rpc

from reconciler.adapters.etcd import EtcdStore, StoreTiming, WatchTiming
from reconciler.adapters.etcd.failure import AttemptFailed, Kind
from reconciler.ports.store import (
    Delete,
    Indeterminate,
    LeaseProof,
    Put,
    Store,
    StoreError,
    Transaction,
    Unavailable,
    Unchanged,
)
from tests.integration.etcd_cluster import EtcdCluster, find_program
from tests.integration.gate import Gate
from tests.store.watching import Watched

pytestmark = pytest.mark.integration
_numbers = count()
QUICK = StoreTiming(watch=WatchTiming(progress_s=0.1, stale_after_s=0.5))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if find_program("etcd") is None or find_program("etcdctl") is None:
        pytest.skip("etcd and etcdctl are not installed")
    cluster = EtcdCluster.start(tmp_path_factory.mktemp("etcd3"))
    yield cluster
    cluster.stop()


@pytest.fixture
async def cluster(running: EtcdCluster) -> EtcdCluster:
    await running.restore()
    return running


@pytest.fixture
async def stores(cluster: EtcdCluster) -> AsyncIterator[list[EtcdStore]]:
    """Collects stores to be closed."""
    opened: list[EtcdStore] = []
    yield opened
    for store in opened:
        await store.close()


def open_store(
    cluster: EtcdCluster, stores: list[EtcdStore], first: int = 0, timing: StoreTiming = QUICK
) -> EtcdStore:
    store = cluster.store(endpoints=cluster.endpoints_from(first), timing=timing)
    stores.append(store)
    return store


def fresh(prefix: str = "/faults/") -> str:
    return f"{prefix}{next(_numbers)}"


def claim(key: str, value: bytes) -> Transaction:
    return Transaction((Unchanged(key, 0),), (Put(key, value),), guard=key)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_guarded_writes_and_the_lease_survive_the_own_member(
    cluster: EtcdCluster, stores: list[EtcdStore], fault: str, victim: str
) -> None:
    leader = await cluster.leader()
    own = leader if victim == "leader" else (leader + 1) % 3
    store = open_store(cluster, stores, own)
    lease = await store.grant(10)
    await store.commit(claim(fresh(), b"before"))
    getattr(cluster.members[own], fault)()
    for _ in range(3):
        key = fresh()
        assert (await store.commit(claim(key, b"nonce"), timeout_s=5.0)).succeeded
        found = await store.get(key, timeout_s=5.0)
        assert found is not None
        assert found.value == b"nonce"
        assert found.create_revision == found.mod_revision
    renewed = await store.keep_alive(lease.lease, timeout_s=5.0)
    assert renewed.ttl_s == lease.ttl_s
    health = {member.endpoint: member for member in await store.members()}
    assert not health[cluster.endpoints[own]].reachable
    assert sum(member.is_leader for member in health.values()) == 1


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_watch_moves_on_from_a_lost_member_without_losing_a_change(
    cluster: EtcdCluster, stores: list[EtcdStore], fault: str
) -> None:
    own = await cluster.leader()
    prefix = fresh() + "/"
    watched = Watched(open_store(cluster, stores, own), prefix)
    writer = open_store(cluster, stores, (own + 1) % 3)
    await writer.commit(claim(prefix + "a", b"1"))
    await watched.until(lambda w: prefix + "a" in w.keys)
    getattr(cluster.members[own], fault)()
    await writer.commit(claim(prefix + "b", b"2"), timeout_s=5.0)
    await writer.commit(claim(prefix + "c", b"3"), timeout_s=5.0)
    await watched.until(lambda w: prefix + "c" in w.keys)
    assert [key.removeprefix(prefix) for key, _ in watched.changes] == ["a", "b", "c"]
    assert any(batch.stale_reason for batch in watched.batches)
    await watched.until(lambda w: w.last.stale_reason is None)
    await watched.close()


async def test_without_quorum_nothing_is_pretended_and_all_returns(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    key, prefix = fresh(), fresh() + "/"
    store = open_store(cluster, stores)
    lease = await store.grant(30)
    watched = Watched(store, prefix)
    await watched.until(lambda w: bool(w.batches))
    for member in cluster.members[1:]:
        member.freeze()

    with pytest.raises(Unavailable):
        await store.get(key, timeout_s=1.0)
    with pytest.raises(Unavailable):
        await store.keep_alive(lease.lease, timeout_s=1.0)
    with pytest.raises((Indeterminate, Unavailable)):
        await store.commit(claim(key, b"nonce"), timeout_s=1.0)
    with pytest.raises((Indeterminate, Unavailable)):
        await store.commit(Transaction((), (Put(fresh(), b"1"),)), timeout_s=1.0)
    await watched.until(lambda w: w.last.stale_reason is not None)
    health = {member.endpoint: member for member in await store.members()}
    assert [health[endpoint].reachable for endpoint in cluster.endpoints] == [True, False, False]

    await cluster.restore()
    # The same write again: whether the unanswered one happened or not, the outcome is the same.
    assert (await store.commit(claim(key, b"nonce"), timeout_s=5.0)).succeeded
    assert (await store.keep_alive(lease.lease)).lease == lease.lease
    await store.commit(claim(prefix + "back", b"1"))
    await watched.until(lambda w: prefix + "back" in w.keys)
    await watched.close()


async def test_a_full_store_says_so_although_it_answers(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    store = open_store(cluster, stores)
    await store.get("/x")
    assert {member.alarm for member in await store.members()} == {""}
    wire = store._endpoints.in_order()[0].wire()
    member = (await wire.voting_members(2.0))[0].member_id
    lease = await store.grant(30)
    for action in (rpc.AlarmRequest.ACTIVATE, rpc.AlarmRequest.DEACTIVATE):
        request = rpc.AlarmRequest(action=action, memberID=member, alarm=rpc.NOSPACE)
        await wire._maintenance.Alarm(request, timeout=2.0)
        if action == rpc.AlarmRequest.ACTIVATE:
            await store.keep_alive(lease.lease)
            with pytest.raises(Unavailable, match="space exceeded"):
                await store.commit(Transaction((), (Put(fresh(), b"1"),)))
            assert any("takes no writes" in member.alarm for member in await store.members())
    await store.commit(Transaction((), (Put(fresh(), b"1"),)))


async def test_a_member_that_returns_is_used_again(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    store = open_store(cluster, stores)
    await store.get("/x")
    cluster.members[0].kill()
    await store.get("/x", timeout_s=5.0)
    assert store._endpoints.in_order()[0].url != cluster.endpoints[0]
    await cluster.restore()
    async with asyncio.timeout(15):
        while store._endpoints.in_order()[0].url != cluster.endpoints[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await store.get("/x")


async def renewals(store: Store, lease: int, done: asyncio.Event) -> list[LeaseProof]:
    proofs = []
    while not done.is_set():
        proofs.append(await store.keep_alive(lease, timeout_s=3.0))
        await asyncio.sleep(0.05)
    return proofs


async def test_a_short_lease_lives_through_members_dying_one_after_the_other(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    store = open_store(cluster, stores)
    lease = await store.grant(3)
    done = asyncio.Event()
    renewing = asyncio.ensure_future(renewals(store, lease.lease, done))
    for number in (0, 1, 2):
        cluster.members[number].kill()
        assert (await store.commit(claim(fresh(), b"n"), timeout_s=5.0)).succeeded
        await cluster.restore()
    done.set()
    sent = [proof.sent_at for proof in await renewing]
    assert sent == sorted(sent)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


async def oldest_revision_is_gone(cluster: EtcdCluster, key: str, revision: int) -> None:
    """Every member has applied the compaction."""
    for member in cluster.members:
        store = cluster.store(endpoints=[member.endpoint])
        try:
            async with asyncio.timeout(10):
                wire = store._endpoints.in_order()[0].wire()
                while True:
                    try:
                        await wire.page(key.encode(), None, 1.0, revision=revision)
                    except AttemptFailed as failure:
                        if failure.kind is Kind.COMPACTED:
                            break
                        raise
                    await asyncio.sleep(0.02)
        finally:
            await store.close()


async def test_compaction_overtaking_a_watch_gives_the_difference(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    prefix = fresh() + "/"
    writer = open_store(cluster, stores)
    async with Gate(port_of(cluster.endpoints[0])) as gate:
        store = cluster.store(endpoints=[gate.url], timing=QUICK)
        stores.append(store)
        puts = tuple(Put(prefix + name, b"0") for name in ("gone", "same", "changed"))
        first = await writer.commit(Transaction((), puts))
        watched = Watched(store, prefix)
        await watched.until(lambda w: len(w.keys) == 3)
        await gate.shut()
        await watched.until(lambda w: w.last.stale_reason is not None)
        await writer.commit(
            Transaction((), (Delete(prefix + "gone"), Put(prefix + "changed", b"1")))
        )
        last = await writer.commit(Transaction((), (Put(prefix + "new", b"1"),)))
        cluster.etcdctl("compact", str(last.revision))
        await oldest_revision_is_gone(cluster, prefix + "same", first.revision)
        seen = len(watched.batches)
        await gate.open()
        await watched.until(lambda w: prefix + "new" in w.keys)
        difference = {
            key.removeprefix(prefix): stored and stored.value
            for batch in watched.batches[seen:]
            for key, stored in batch.changes
        }
        assert difference == {"gone": None, "changed": b"1", "new": b"1"}
        await watched.close()


async def test_a_silent_link_is_noticed_and_nothing_is_lost(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    prefix = fresh() + "/"
    writer = open_store(cluster, stores, 1)
    async with Gate(port_of(cluster.endpoints[0])) as gate:
        store = cluster.store(endpoints=[gate.url, *cluster.endpoints[1:]], timing=QUICK)
        stores.append(store)
        watched = Watched(store, prefix)
        await watched.until(lambda w: bool(w.batches))
        gate.stall()
        await writer.commit(claim(prefix + "a", b"1"))
        await watched.until(lambda w: prefix + "a" in w.keys)
        assert any("silent" in (batch.stale_reason or "") for batch in watched.batches)
        assert (await store.commit(claim(prefix + "b", b"1"))).succeeded
        await watched.until(lambda w: prefix + "b" in w.keys)
        await watched.close()


async def test_a_periodic_listing_repeats_nothing_that_is_known(
    cluster: EtcdCluster, stores: list[EtcdStore]
) -> None:
    prefix = fresh() + "/"
    timing = StoreTiming(watch=WatchTiming(progress_s=0.05, stale_after_s=1.0, relist_s=0.1))
    store = open_store(cluster, stores, timing=timing)
    listings = 0
    listed = store.list

    async def counted(prefix: str, *, timeout_s: float = 5.0) -> object:
        nonlocal listings
        listings += 1
        return await listed(prefix, timeout_s=timeout_s)

    store.list = counted  # type: ignore[method-assign,assignment]
    watched = Watched(store, prefix)
    await store.commit(claim(prefix + "a", b"1"))
    await watched.until(lambda w: listings >= 4)
    assert len(watched.changes) == 1
    await watched.close()


async def test_the_lead_can_be_moved(cluster: EtcdCluster, stores: list[EtcdStore]) -> None:
    store = open_store(cluster, stores)
    leader = await cluster.leader()
    wanted = (leader + 1) % 3
    await store.move_leader(f"m{wanted + 1}")
    assert await cluster.leader() == wanted
    await store.move_leader(f"m{wanted + 1}")
    with pytest.raises(StoreError):
        await store.move_leader("nobody")


async def test_closing_ends_a_watch_and_leaves_no_task(cluster: EtcdCluster) -> None:
    store = cluster.store(timing=QUICK)
    watched = Watched(store, "/closing/")
    await watched.until(lambda w: len(w.batches) >= 2)
    await store.close()
    with pytest.raises(StopAsyncIteration):
        await watched.until(lambda w: False)
