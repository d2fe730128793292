"""The store port on real etcd. Used by the agent, `clusterctl` and the contract tests."""

import asyncio
import builtins
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from reconciler.adapters.etcd.calls import ATTEMPT_S, Calls
from reconciler.adapters.etcd.endpoints import Endpoints, TlsFiles, Watermark
from reconciler.adapters.etcd.members import Members
from reconciler.adapters.etcd.watch import Watch, WatchTiming
from reconciler.adapters.etcd.wire import Page, Wire, prefix_end
from reconciler.adapters.transaction_rules import check_transaction, guard_value, may_still_hold
from reconciler.ports.clock import Clock
from reconciler.ports.store import (
    CommitResult,
    Compacted,
    Indeterminate,
    KeyValue,
    LeaseLost,
    LeaseProof,
    Listing,
    MemberHealth,
    Transaction,
    Unavailable,
    WatchBatch,
)

_PAGE_KEYS = 500
_LISTING_TRIES = 3


@dataclass(frozen=True, slots=True)
class StoreTiming:
    """Seconds. Hedged attempts start each `hedge_s`; one attempt gets `attempt_s`."""

    hedge_s: float = 0.05
    attempt_s: float = ATTEMPT_S
    watch: WatchTiming = field(default_factory=WatchTiming)


class EtcdStore:
    """Implements `reconciler.ports.store.Store`; make it with `connect` inside a running loop."""

    def __init__(self, endpoints: Endpoints, clock: Clock, timing: StoreTiming) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._timing = timing
        self._calls = Calls(endpoints, timing.hedge_s, timing.attempt_s)
        self._watermark = Watermark()
        self._members = Members(endpoints, self._calls, self._watermark, clock)

    @classmethod
    def connect(
        cls,
        endpoints: Sequence[str],
        tls: TlsFiles | None,
        clock: Clock,
        timing: StoreTiming | None = None,
    ) -> Self:
        """`endpoints`: URLs like https://10.0.0.1:2379, own first. Contacts nobody yet.

        Raises `ValueError` for a malformed endpoint.
        """
        return cls(Endpoints(endpoints, tls), clock, timing or StoreTiming())

    async def get(self, key: str, *, timeout_s: float = 2.0) -> KeyValue | None:
        send = partial(self._page, start=key.encode(), end=None)
        page = await self._calls.in_turn(f"get {key}", send, timeout_s)
        return page.items[0] if page.items else None

    async def list(self, prefix: str, *, timeout_s: float = 5.0) -> Listing:
        deadline = asyncio.get_running_loop().time() + timeout_s
        for _ in range(_LISTING_TRIES - 1):
            try:
                return await self._list_once(prefix, deadline)
            except Compacted:
                continue  # a compaction overtook the pages: start at the present again
        return await self._list_once(prefix, deadline)

    async def _list_once(self, prefix: str, deadline: float) -> Listing:
        loop = asyncio.get_running_loop()
        start, end, revision = prefix.encode(), prefix_end(prefix), 0
        items: builtins.list[KeyValue] = []
        while True:
            send = partial(self._page, start=start, end=end, limit=_PAGE_KEYS, revision=revision)
            page = await self._calls.in_turn(f"list {prefix}", send, deadline - loop.time())
            revision = revision or page.header.revision
            items.extend(page.items)
            if not page.more or not page.items:
                return Listing(revision, tuple(items))
            start = page.items[-1].key.encode() + b"\0"

    async def _page(
        self,
        wire: Wire,
        budget_s: float,
        *,
        start: bytes,
        end: bytes | None,
        limit: int = 0,
        revision: int = 0,
    ) -> Page:
        known = self._watermark.revision
        page = await wire.page(start, end, budget_s, limit=limit, revision=revision)
        self._watermark.accept(page.header, known)
        return page

    async def commit(self, transaction: Transaction, *, timeout_s: float = 2.0) -> CommitResult:
        check_transaction(transaction)
        own_value = guard_value(transaction)

        async def send(wire: Wire, budget_s: float) -> CommitResult:
            known = self._watermark.revision
            answer = await wire.transact(transaction, budget_s)
            self._watermark.accept(answer.header, known)
            held = answer.found.get(transaction.guard or "")
            if not answer.succeeded and held is not None and held.value == own_value:
                return CommitResult(True, held.mod_revision)
            compared = {
                compare.key: answer.found.get(compare.key) for compare in transaction.compares
            }
            found = {} if answer.succeeded else compared
            return CommitResult(answer.succeeded, answer.header.revision, found)

        if transaction.guard is None:
            first = transaction.operations[0].key if transaction.operations else "nothing"
            return await self._calls.in_turn(f"commit {first}", send, timeout_s, once=True)
        return await self._calls.hedged(
            f"commit {transaction.guard}",
            send,
            timeout_s,
            lambda result: result.succeeded or not may_still_hold(transaction, result.found),
        )

    async def grant(self, ttl_s: float, *, timeout_s: float = 2.0) -> LeaseProof:
        async def send(wire: Wire, budget_s: float) -> LeaseProof:
            sent_at = self._clock.now()
            answer = await wire.grant(max(1, math.ceil(ttl_s)), budget_s)
            self._watermark.same_cluster(answer.header)
            return LeaseProof(answer.lease, sent_at, answer.ttl_s)

        # A lease that was granted without our knowing it ends by itself.
        return await self._calls.in_turn("grant a lease", send, timeout_s)

    async def keep_alive(self, lease: int, *, timeout_s: float = 1.0) -> LeaseProof:
        async def send(wire: Wire, budget_s: float) -> LeaseProof:
            sent_at = self._clock.now()
            answer = await wire.keep_alive(lease, budget_s)
            self._watermark.same_cluster(answer.header)
            return LeaseProof(lease, sent_at, answer.ttl_s)

        try:
            return await self._calls.hedged(f"keep lease {lease:x} alive", send, timeout_s)
        except Indeterminate as error:
            raise Unavailable(str(error)) from None

    async def revoke(self, lease: int, *, timeout_s: float = 2.0) -> None:
        async def send(wire: Wire, budget_s: float) -> None:
            await wire.revoke(lease, budget_s)

        try:
            await self._calls.hedged(f"revoke lease {lease:x}", send, timeout_s)
        except LeaseLost:
            return  # that is what was wanted

    def watch(self, prefix: str) -> AsyncIterator[WatchBatch]:
        return Watch(
            prefix, self._endpoints, self._watermark, self.list, self._timing.watch
        ).batches()

    async def members(self, *, timeout_s: float = 1.0) -> tuple[MemberHealth, ...]:
        return await self._members.health(timeout_s)

    async def move_leader(self, server: str, *, timeout_s: float = 2.0) -> None:
        """Hand the lead to `server`'s member; fine when it leads already.

        Raises `Unavailable` when there is no leader to ask or no such member.
        """
        await self._members.move_leader(server, timeout_s)

    @property
    def store_id(self) -> str:
        """Identity of the etcd cluster that answered first, empty before that. A restored one has
        another."""
        return self._watermark.store_id

    @property
    def is_replaced(self) -> bool:
        """The newest answer came from another cluster than all before. This store believes none of
        them; whoever wants to talk to the new one connects again."""
        return self._watermark.is_foreign

    async def close(self) -> None:
        await self._endpoints.close()
