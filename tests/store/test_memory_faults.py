"""What a caller sees when a simulator lets calls and watches of the in-memory store go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

import pytest

from reconciler.adapters.memory import FINE, Fate, MemoryState, MemoryStore, NoFaults, WatchTiming
from reconciler.ports.store import (
    Denied,
    Indeterminate,
    NoLeader,
    Put,
    Transaction,
    Unavailable,
    Unchanged,
)
from tests.integration.etcd_cluster import LoopClock
from tests.store.watching import Watched

KEY = "/c/owner"
PLAIN = Transaction((), (Put(KEY, b"1"),))
GUARDED = Transaction((Unchanged(KEY, 0),), (Put(KEY, b"nonce"),), guard=KEY)
TIMING = WatchTiming(progress_s=0.02, stale_after_s=0.05, retry_s=0.01)


class Scripted(NoFaults):
    """Fates for the first calls in order, then fine; and switches."""

    def __init__(self, *fates: Fate) -> None:
        self.fates = list(fates)
        self.cut: str | None = None
        self.away: set[str] = set()
        self.lag_s = 0.0

    def fate(self, operation: str, key: str) -> Fate:
        return self.fates.pop(0) if self.fates else FINE

    def watch_cut(self, prefix: str) -> str | None:
        return self.cut

    def member_reachable(self, server: str) -> bool:
        return server not in self.away

    def lease_lag_s(self, lease: int) -> float:
        return self.lag_s


@pytest.fixture
async def state() -> AsyncIterator[MemoryState]:
    state = MemoryState(LoopClock())
    yield state
    await state.close()


def client(state: MemoryState, faults: Scripted) -> MemoryStore:
    return MemoryStore(state, faults=faults, watch_timing=TIMING, servers=("n1", "n2", "n3"))


async def test_a_refused_read_is_tried_again_until_it_works(state: MemoryState) -> None:
    store = client(state, Scripted(Fate(error=Unavailable("away"))))
    assert await store.get(KEY) is None


async def test_a_read_without_an_answer_ends_unavailable(state: MemoryState) -> None:
    store = client(state, Scripted(*[Fate(lost=True)] * 9))
    with pytest.raises(Unavailable):
        await store.get(KEY, timeout_s=0.1)


async def test_the_last_refusal_is_what_the_caller_learns(state: MemoryState) -> None:
    store = client(state, Scripted(*[Fate(error=NoLeader("election"))] * 99))
    with pytest.raises(NoLeader):
        await store.get(KEY, timeout_s=0.1)
    with pytest.raises(NoLeader):
        await store.commit(GUARDED, timeout_s=0.1)
    store = client(state, Scripted(Fate(error=Denied("role"))))
    with pytest.raises(Denied):
        await store.commit(PLAIN)


async def test_a_plain_write_without_an_answer_may_have_happened(state: MemoryState) -> None:
    store = client(state, Scripted(Fate(reply_lost=True)))
    with pytest.raises(Indeterminate):
        await store.commit(PLAIN, timeout_s=0.1)
    assert state.get(KEY) is not None


async def test_a_plain_write_may_also_happen_later(state: MemoryState) -> None:
    store = client(state, Scripted(Fate(request_s=0.1)))
    with pytest.raises(Indeterminate):
        await store.commit(PLAIN, timeout_s=0.02)
    assert state.get(KEY) is None
    watched = Watched(store, "/c/")
    await watched.until(lambda w: KEY in w.keys)
    await watched.close()


@pytest.mark.parametrize("first", [Fate(lost=True), Fate(reply_lost=True), Fate(request_s=0.07)])
async def test_a_guarded_write_is_hedged_and_applied_once(state: MemoryState, first: Fate) -> None:
    store = client(state, Scripted(first))
    result = await store.commit(GUARDED)
    assert result.succeeded
    held = state.get(KEY)
    assert held is not None
    assert held.mod_revision == result.revision
    await asyncio.sleep(0.1)  # the slow first attempt arrives after all
    assert state.get(KEY) == held


async def test_a_lost_race_is_not_reported_while_an_attempt_could_still_win(
    state: MemoryState,
) -> None:
    state.commit(PLAIN)
    store = client(state, Scripted(Fate(lost=True)))
    with pytest.raises(Indeterminate):
        await store.commit(GUARDED, timeout_s=0.2)
    # Compared with a revision that never returns, the answer is final at once.
    final = Transaction((Unchanged(KEY, 99),), (Put(KEY, b"nonce"),), guard=KEY)
    store = client(state, Scripted(Fate(lost=True)))
    assert not (await store.commit(final, timeout_s=0.2)).succeeded


async def test_a_cut_watch_turns_stale_and_catches_up(state: MemoryState) -> None:
    faults = Scripted()
    watched = Watched(client(state, faults), "/c/")
    await watched.until(lambda w: bool(w.batches))
    faults.cut = "partition"
    state.commit(PLAIN)
    await watched.until(lambda w: w.last.stale_reason == "partition")
    assert not watched.keys
    faults.cut = None
    await watched.until(lambda w: w.keys == {KEY: b"1"})
    assert watched.last.stale_reason is None
    await watched.close()


async def test_compaction_behind_a_cut_watch_gives_the_difference(state: MemoryState) -> None:
    faults = Scripted()
    state.commit(Transaction((), (Put("/c/gone", b"0"), Put("/c/same", b"0"))))
    watched = Watched(client(state, faults), "/c/")
    await watched.until(lambda w: len(w.keys) == 2)
    faults.cut = "partition"
    state.revoke(state.grant(1)[0])
    await watched.until(lambda w: w.last.stale_reason is not None)
    seen = len(watched.batches)
    with_lease = state.grant(9)[0]
    state.commit(Transaction((), (Put("/c/gone", b"1", with_lease),)))
    state.revoke(with_lease)
    state.compact(state.commit(PLAIN).revision)
    faults.cut = None
    await watched.until(lambda w: KEY in w.keys)
    changed = {key: kv and kv.value for b in watched.batches[seen:] for key, kv in b.changes}
    assert changed == {"/c/gone": None, KEY: b"1"}
    await watched.close()


async def test_a_lease_may_end_late_but_never_early(state: MemoryState) -> None:
    faults = Scripted()
    faults.lag_s = 0.3
    state = MemoryState(LoopClock(), faults)
    start = state.clock.now()
    lease, ttl_s = state.grant(1)
    state.commit(Transaction((), (Put(KEY, b"1", lease),)))
    watched = Watched(client(state, faults), "/c/")
    await watched.until(lambda w: KEY in w.keys)
    await watched.until(lambda w: KEY not in w.keys)
    assert state.clock.now() - start >= ttl_s + 0.3
    await watched.close()
    await state.close()


async def test_requests_and_lease_timers_do_not_belong_to_their_sender(state: MemoryState) -> None:
    """A simulator that freezes all that runs in a server's context must not freeze the store."""
    server: ContextVar[str] = ContextVar("server", default="")
    seen: list[str] = []

    class Clock(LoopClock):
        async def sleep(self, seconds: float) -> None:
            seen.append(server.get())
            await super().sleep(seconds)

        def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
            seen.append(server.get())
            return super().after(seconds, act)

    state = MemoryState(Clock())
    server.set("n1")
    state.grant(9)
    store = MemoryStore(state, LoopClock(), Scripted(FINE, Fate(request_s=0.01, reply_s=0.01)))
    await store.get(KEY)
    await store.get(KEY)
    assert len(seen) == 3
    assert set(seen) == {""}
    await state.close()


async def test_members_that_are_away_are_reported_so(state: MemoryState) -> None:
    state.leader = "n2"
    faults = Scripted()
    faults.away = {"n3"}
    members = await client(state, faults).members()
    assert [(m.server, m.reachable, m.is_leader) for m in members] == [
        ("n1", True, False),
        ("n2", True, True),
        ("n3", False, False),
    ]
