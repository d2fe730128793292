"""The store: a small, strict view of etcd v3. `adapters.etcd` and `adapters.memory` implement it.

Error tree:

    StoreError
    ├── Unavailable     nothing answered in time; nothing is known to have happened
    │   └── NoLeader    a member answered, but it has no leader
    ├── Denied          certificate, role or authentication refused
    ├── Compacted       the asked revision is gone: list again
    ├── LeaseLost       the lease is not there any more (TTL 0)
    └── Indeterminate   a write timed out: it may have happened, and may still happen
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class StoreError(Exception):
    """Base of everything a store raises."""


class Unavailable(StoreError):
    """Nothing answered in time. Never read as *lost* or *gone*."""


class NoLeader(Unavailable):
    """The member that answered has no leader."""


class Denied(StoreError):
    """Certificate, role or authentication was refused."""


class Compacted(StoreError):
    """The asked revision was compacted."""


class LeaseLost(StoreError):
    """The lease does not exist any more."""


class Indeterminate(StoreError):
    """A write timed out: it may or may not have happened."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as stored. `lease` is 0 when none is attached."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Compare: the key still has this `mod_revision`; 0 means that the key does not exist."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key, or with `prefix` everything that starts with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """All compares hold, then all operations happen at one revision; else nothing does.

    `guard` names a key that the operations `Put` with a value that no other writer can produce (it
    carries a nonce). With a guard the write is idempotent and may be hedged over several members: a
    failed compare that finds exactly our value under the guard is our own earlier attempt, thus a
    success. Without a guard it is tried once.
    """

    compares: tuple[Unchanged, ...]
    operations: tuple[Put | Delete, ...]
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """`found` holds the current value of every compared key when `succeeded` is false."""

    succeeded: bool
    revision: int
    found: Mapping[str, KeyValue | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """All keys under a prefix at one revision, in key order."""

    revision: int
    items: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class LeaseProof:
    """The store renewed the lease: it holds until `sent_at + ttl_s` on this server's clock."""

    lease: int
    sent_at: float
    ttl_s: float


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes in revision order. A deleted key is `(key, None)`.

    An empty batch is a sign of life (progress notification): everything up to `revision` is known.
    After a compaction or a resume that lost its place the changes are a synthetic difference to the
    last known state, and the batch is `listed`: what came and went in between is not known.
    `stale_reason` says that nothing is known to be fresh since the last batch (no
    leader, no connection); the iterator goes on by itself, it only ends by `Denied` or by closing.
    """

    revision: int
    changes: tuple[tuple[str, KeyValue | None], ...] = ()
    stale_reason: str | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class MemberHealth:
    """One voting member of the store as reached from here. `alarm`: why the store takes no writes,
    though it answers and prolongs leases; "" when it does."""

    server: str
    endpoint: str
    reachable: bool
    is_leader: bool
    answered_at: float
    alarm: str = ""


NO_SPACE = "its space is used up, so the store takes no writes"
DAMAGED = "its data is damaged, so the store takes no writes"


def way_out(alarm: str) -> str:
    """The command that ends an alarm; damaged data has none, its member is replaced."""
    return "clusterctl store repair" if alarm == NO_SPACE else "clusterctl doctor"


class Store(Protocol):
    """Every call takes its time-out in seconds and raises one of the errors above."""

    async def get(self, key: str, *, timeout_s: float = 2.0) -> KeyValue | None:
        """Linearizable read of one key."""
        ...

    async def list(self, prefix: str, *, timeout_s: float = 5.0) -> Listing:
        """Linearizable, paged read of a prefix at one revision."""
        ...

    async def commit(self, transaction: Transaction, *, timeout_s: float = 2.0) -> CommitResult:
        """Commit; raises `Indeterminate` when the outcome is unknown and could not be read back."""
        ...

    async def grant(self, ttl_s: float, *, timeout_s: float = 2.0) -> LeaseProof:
        """A new lease."""
        ...

    async def keep_alive(self, lease: int, *, timeout_s: float = 1.0) -> LeaseProof:
        """Renew once, hedged over the members; raises `LeaseLost` when it is gone."""
        ...

    async def revoke(self, lease: int, *, timeout_s: float = 2.0) -> None:
        """End a lease and all its keys; a lease that is gone already is fine."""
        ...

    def watch(self, prefix: str) -> AsyncIterator[WatchBatch]:
        """First the whole prefix as one batch, then its changes, for ever (see `WatchBatch`)."""
        ...

    async def members(self, *, timeout_s: float = 1.0) -> tuple[MemberHealth, ...]:
        """Asks each voting member by itself, in parallel; one that is away is no error."""
        ...

    async def move_leader(self, server: str, *, timeout_s: float = 2.0) -> None:
        """Hand the lead to this server's member; fine when it leads already.

        Raises `Unavailable` when there is no leader to ask or no such member.
        """
        ...

    @property
    def store_id(self) -> str:
        """Identity of the etcd cluster that answered first (a restored one has another); empty
        before the first answer."""
        ...

    async def close(self) -> None: ...
