"""One client's view of a `MemoryState`; used by the simulator and by fast tests.

It passes the same contract suite as the etcd adapter (tests/store/test_contract.py). Time-outs run
on the client's clock, the store's own time on the state's clock, so that clocks may drift apart.
"""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from reconciler.adapters.memory.faults import Fate, Faults, NoFaults
from reconciler.adapters.memory.race import Race
from reconciler.adapters.memory.state import MemoryState
from reconciler.adapters.memory.watching import WatchTiming, watch_state
from reconciler.adapters.transaction_rules import check_transaction, guard_value, may_still_hold
from reconciler.ports.clock import Clock
from reconciler.ports.store import (
    CommitResult,
    Indeterminate,
    KeyValue,
    LeaseProof,
    Listing,
    MemberHealth,
    StoreError,
    Transaction,
    Unavailable,
    WatchBatch,
)

T = TypeVar("T")


class MemoryStore:
    """Implements `reconciler.ports.store.Store`.

    `servers` are those with a voting member, for `members`. `hedge_s` is the spacing of the
    attempts of guarded commits and keep-alives; each attempt has a `Fate` of its own.
    """

    def __init__(
        self,
        state: MemoryState,
        clock: Clock | None = None,
        faults: Faults | None = None,
        *,
        servers: tuple[str, ...] = ("memory",),
        hedge_s: float = 0.05,
        watch_timing: WatchTiming | None = None,
    ) -> None:
        self._state = state
        self._clock = clock or state.clock
        self._faults = faults or NoFaults()
        self._servers = servers
        self._hedge_s = hedge_s
        self._watch_timing = watch_timing or WatchTiming()

    async def get(self, key: str, *, timeout_s: float = 2.0) -> KeyValue | None:
        return await self._read("get", key, lambda: self._state.get(key), timeout_s)

    async def list(self, prefix: str, *, timeout_s: float = 5.0) -> Listing:
        return await self._read("list", prefix, lambda: self._state.list(prefix), timeout_s)

    async def commit(self, transaction: Transaction, *, timeout_s: float = 2.0) -> CommitResult:
        check_transaction(transaction)
        key = transaction.guard or next((op.key for op in transaction.operations), "")
        race = Race[CommitResult](
            lambda: self._commit_once(transaction),
            lambda result: result.succeeded or not may_still_hold(transaction, result.found),
        )
        repeat = transaction.guard is not None
        return await self._run("commit", key, race, timeout_s, repeat=repeat)

    def _commit_once(self, transaction: Transaction) -> CommitResult:
        """A failed compare that finds our own value under the guard is our earlier attempt."""
        result = self._state.commit(transaction)
        if result.succeeded or transaction.guard is None:
            return result
        held = self._state.get(transaction.guard)
        if held is not None and held.value == guard_value(transaction):
            return CommitResult(True, held.mod_revision)
        return result

    async def grant(self, ttl_s: float, *, timeout_s: float = 2.0) -> LeaseProof:
        sent = self._clock.now()
        lease, granted = await self._attempts(
            "grant", "", lambda: self._state.grant(ttl_s), timeout_s, repeat=False
        )
        return LeaseProof(lease, sent, granted)

    async def keep_alive(self, lease: int, *, timeout_s: float = 1.0) -> LeaseProof:
        # A renewal that is under way proves nothing later than the moment the first one left.
        sent = self._clock.now()
        ttl = await self._attempts(
            "keep_alive", "", lambda: self._state.keep_alive(lease), timeout_s, repeat=True
        )
        return LeaseProof(lease, sent, ttl)

    async def revoke(self, lease: int, *, timeout_s: float = 2.0) -> None:
        await self._attempts(
            "revoke", "", lambda: self._state.revoke(lease), timeout_s, repeat=True
        )

    def watch(self, prefix: str) -> AsyncIterator[WatchBatch]:
        return watch_state(self._state, self._clock, self._faults, prefix, self._watch_timing)

    async def members(self, *, timeout_s: float = 1.0) -> tuple[MemberHealth, ...]:  # noqa: ARG002
        leader = self._state.leader or self._servers[0]
        found = []
        for server in self._servers:
            reachable = self._faults.member_reachable(server)
            leads = reachable and server == leader
            found.append(
                MemberHealth(server, f"memory://{server}", reachable, leads, self._clock.now())
            )
        return tuple(found)

    async def move_leader(self, server: str, *, timeout_s: float = 2.0) -> None:  # noqa: ARG002 - at once
        if server not in self._servers or not self._faults.member_reachable(server):
            raise Unavailable(f"no member of {server} answers")
        self._state.leader = server

    @property
    def store_id(self) -> str:
        return self._state.store_id

    async def close(self) -> None:
        """Nothing is held open; requests under way go on in the state, as on a real network."""

    async def _read(self, operation: str, key: str, act: Callable[[], T], timeout_s: float) -> T:
        try:
            return await self._attempts(operation, key, act, timeout_s, repeat=True)
        except Indeterminate as error:
            raise Unavailable(str(error)) from None

    async def _attempts(
        self, operation: str, key: str, act: Callable[[], T], timeout_s: float, *, repeat: bool
    ) -> T:
        return await self._run(operation, key, Race[T](act), timeout_s, repeat=repeat)

    async def _run(
        self, operation: str, key: str, race: Race[T], timeout_s: float, *, repeat: bool
    ) -> T:
        """First answer of one attempt, or of one more each `hedge_s` with `repeat`.

        Raises `Indeterminate` if an attempt may have arrived; else the last refusal.
        """
        deadline = self._clock.now() + timeout_s
        refusal: StoreError | None = None
        while not race.answer.done():
            if self._clock.now() >= deadline or (race.launched and not repeat):
                race.answer.cancel()
                if refusal is not None and not race.launched:
                    raise refusal
                raise Indeterminate(f"{operation} {key}: no answer within {timeout_s} s")
            if not race.held_back:
                refusal = await self._launch(self._faults.fate(operation, key), race, deadline)
                again = repeat and (refusal is None or isinstance(refusal, Unavailable))
                if refusal is not None and not again and not race.launched:
                    raise refusal
            left = max(0.0, deadline - self._clock.now())
            pause = min(left, self._hedge_s) if repeat and not race.held_back else left
            await race.wait(self._clock, pause)
        return race.answer.result()

    async def _launch(self, fate: Fate, race: Race[T], deadline: float) -> StoreError | None:
        """Send one attempt; the error if it was refused, which is when nothing happened."""
        if fate.error is not None:
            left = max(0.0, deadline - self._clock.now())
            await self._clock.sleep(min(fate.request_s, left))
            return fate.error
        race.launch(fate, self._state)
        return None
