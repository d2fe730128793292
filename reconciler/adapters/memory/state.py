"""The data of an in-memory etcd: revisions, leases, transactions, history, compaction.

Shared by all `MemoryStore` clients of one simulated or tested cluster. Deterministic: no threads,
no randomness, no wall time; leases end by the injected clock.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from reconciler.adapters.memory.faults import Faults, NoFaults
from reconciler.adapters.transaction_rules import covers
from reconciler.ports.clock import Clock
from reconciler.ports.store import (
    CommitResult,
    Compacted,
    Delete,
    KeyValue,
    LeaseLost,
    Listing,
    Put,
    Transaction,
)

Change = tuple[str, KeyValue | None]


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    ends_at: float
    keys: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Watcher:
    """`changed` until the watcher puts it down; `woken` it may set itself, to go on waiting."""

    number: int
    prefix: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    changed: bool = False


class MemoryState:
    """One cluster's data; every method acts at once and atomically.

    `leader` names the server whose member leads (for `MemoryStore.members` only). Lease timers and
    requests under way run in the context in which the state was made, not in their sender's.
    """

    def __init__(self, clock: Clock, faults: Faults | None = None, leader: str = "") -> None:
        self.clock = clock
        self.leader = leader
        self.revision = 1
        self.store_id = ""
        self.compacted = 0
        self._faults = faults or NoFaults()
        self._data: dict[str, KeyValue] = {}
        self._history: list[tuple[int, tuple[Change, ...]]] = []
        self._leases: dict[int, _Lease] = {}
        self._next_lease = 1
        self._watchers: dict[int, Watcher] = {}
        self._next_watcher = 1
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._under_way: dict[int, Callable[[], None]] = {}
        self._requests = 0
        self._context = copy_context()

    def restore(self, items: Mapping[str, bytes], revision: int, store_id: str) -> None:
        """Become another store with these values, as after a restored backup; leases are gone.
        Watches and clients of before must not go on."""
        self.expire_leases()
        self._data = {
            key: KeyValue(key, value, revision, revision) for key, value in sorted(items.items())
        }
        self._history.clear()
        self._leases.clear()
        self.revision, self.compacted, self.store_id = revision, revision, store_id

    # reading
    def get(self, key: str) -> KeyValue | None:
        self.expire_leases()
        return self._data.get(key)

    def list(self, prefix: str) -> Listing:
        self.expire_leases()
        found = sorted(key for key in self._data if key.startswith(prefix))
        return Listing(self.revision, tuple(self._data[key] for key in found))

    def changes_since(self, revision: int, prefix: str) -> tuple[int, tuple[Change, ...]]:
        """(current revision, changes after `revision` under the prefix); raises `Compacted`."""
        self.expire_leases()
        if revision + 1 < self.compacted:
            raise Compacted(f"revision {revision + 1} is gone, oldest is {self.compacted}")
        found: list[Change] = []
        for at, changes in reversed(self._history):
            if at <= revision:
                break
            found.extend(reversed([change for change in changes if change[0].startswith(prefix)]))
        return self.revision, tuple(reversed(found))

    # writing
    def commit(self, transaction: Transaction) -> CommitResult:
        """Apply atomically or report what was found; `LeaseLost` when a put names a dead lease."""
        self.expire_leases()
        found = {compare.key: self._data.get(compare.key) for compare in transaction.compares}
        for compare in transaction.compares:
            current = found[compare.key]
            if (current.mod_revision if current else 0) != compare.mod_revision:
                return CommitResult(False, self.revision, found)
        for operation in transaction.operations:
            if isinstance(operation, Put) and operation.lease:
                self._living(operation.lease)
        self._apply(transaction.operations)
        return CommitResult(True, self.revision)

    def _apply(self, operations: tuple[Put | Delete, ...]) -> None:
        revision = self.revision + 1
        changes: list[Change] = []
        for operation in operations:
            if isinstance(operation, Put):
                changes.append((operation.key, self._put(operation, revision)))
            else:
                for key in sorted(key for key in self._data if covers(operation, key)):
                    self._detach(self._data.pop(key))
                    changes.append((key, None))
        if changes:  # deleting nothing is no revision
            self.revision = revision
            self._history.append((revision, tuple(changes)))
            self._wake_watchers(tuple(changes))

    def _put(self, put: Put, revision: int) -> KeyValue:
        old = self._data.get(put.key)
        if old:
            self._detach(old)
        created = old.create_revision if old else revision
        stored = KeyValue(put.key, put.value, created, revision, put.lease)
        self._data[put.key] = stored
        if put.lease:
            self._leases[put.lease].keys[put.key] = None
        return stored

    def _detach(self, stored: KeyValue) -> None:
        lease = self._leases.get(stored.lease)
        if lease:
            lease.keys.pop(stored.key, None)

    def compact(self, revision: int) -> None:
        """Forget the history before `revision`; what exists now stays."""
        self.compacted = max(self.compacted, min(revision, self.revision))
        self._history = [entry for entry in self._history if entry[0] >= self.compacted]

    # leases
    def grant(self, ttl_s: float) -> tuple[int, float]:
        """(lease id, granted TTL): whole seconds, at least 1, as etcd does."""
        self.expire_leases()
        lease_id = self._next_lease
        self._next_lease += 1
        granted = float(max(1, math.ceil(ttl_s)))
        self._leases[lease_id] = _Lease(granted, self._end_of(lease_id, granted))
        self.spawn(self._end_in_time(lease_id))
        return lease_id, granted

    def keep_alive(self, lease_id: int) -> float:
        """Renew; the TTL. Raises `LeaseLost`."""
        self.expire_leases()
        lease = self._living(lease_id)
        lease.ends_at = self._end_of(lease_id, lease.ttl_s)
        return lease.ttl_s

    def revoke(self, lease_id: int) -> None:
        self.expire_leases()
        lease = self._leases.pop(lease_id, None)
        if lease:
            self._apply(tuple(Delete(key) for key in sorted(lease.keys)))

    def expire_leases(self, now: float | None = None) -> None:
        """End every lease whose time (by this state's clock) has come."""
        moment = self.clock.now() if now is None else now
        ended = [lease_id for lease_id, lease in self._leases.items() if lease.ends_at <= moment]
        for lease_id in ended:
            lease = self._leases.pop(lease_id)
            self._apply(tuple(Delete(key) for key in sorted(lease.keys)))

    def _living(self, lease_id: int) -> _Lease:
        lease = self._leases.get(lease_id)
        if lease is None:
            raise LeaseLost(f"lease {lease_id:x} does not exist")
        return lease

    def _end_of(self, lease_id: int, ttl_s: float) -> float:
        return self.clock.now() + ttl_s + max(0.0, self._faults.lease_lag_s(lease_id))

    async def _end_in_time(self, lease_id: int) -> None:
        # Watchers must learn of the end even when nobody calls.
        while (lease := self._leases.get(lease_id)) is not None:
            await self.clock.sleep(max(0.0, lease.ends_at - self.clock.now()))
            self.expire_leases()

    # watchers and tasks
    def subscribe(self, prefix: str) -> "Watcher":
        """Told of each change under the prefix; end it with `unsubscribe`."""
        watcher = Watcher(self._next_watcher, prefix)
        self._next_watcher += 1
        self._watchers[watcher.number] = watcher
        return watcher

    def unsubscribe(self, watcher: "Watcher") -> None:
        self._watchers.pop(watcher.number, None)

    def _wake_watchers(self, changes: tuple[Change, ...]) -> None:
        for watcher in self._watchers.values():
            if any(key.startswith(watcher.prefix) for key, _ in changes):
                watcher.changed = True
                watcher.woken.set()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """A request or a reply under way: it acts when it arrives; its sender may be gone."""
        self._requests += 1
        number = self._requests

        def arrive() -> None:
            del self._under_way[number]
            act()

        # Not in the caller's context: a simulator stops servers by it, and must not stop the store.
        context = self._context.copy()
        self._under_way[number] = context.run(self.clock.after, seconds, arrive)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that outlives the caller."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def close(self) -> None:
        """Cancel lease timers and requests under way."""
        while self._under_way:
            self._under_way.popitem()[1]()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
