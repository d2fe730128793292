"""Where a simulator reaches into the in-memory store: one object decides what goes wrong.

The store asks it synchronously and in a deterministic order; a simulator answers from its seed.
"""

from dataclasses import dataclass
from typing import Protocol

from reconciler.ports.store import StoreError


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one attempt of one call; times are seconds of the state's clock.

    request_s   travel time until the store acts. A caller whose time-out is shorter gives up before
                that, and a write is still applied late.
    error       refused when it arrives: nothing happened.
    lost        never arrives.
    reply_s     travel time of the answer.
    reply_lost  the store acted, the answer never comes.
    """

    request_s: float = 0.0
    error: StoreError | None = None
    lost: bool = False
    reply_s: float = 0.0
    reply_lost: bool = False


FINE = Fate()


class Faults(Protocol):
    """Asked by `MemoryStore` (one client) and, for leases, by `MemoryState` (the cluster)."""

    def fate(self, operation: str, key: str) -> Fate:
        """Of one attempt. `operation`: get, list, commit, grant, keep_alive, revoke."""
        ...

    def watch_delay_s(self, prefix: str) -> float:
        """How long the next batch of this watch is held back."""
        ...

    def watch_cut(self, prefix: str) -> str | None:
        """Why nothing comes through this watch now, or None while it works."""
        ...

    def member_reachable(self, server: str) -> bool:
        """Whether `members` gets an answer from this server's member."""
        ...

    def lease_lag_s(self, lease: int) -> float:
        """How much later than its TTL a lease ends; asked at each grant and renewal, never < 0."""
        ...


class NoFaults:
    """Everything works at once."""

    def fate(self, operation: str, key: str) -> Fate:  # noqa: ARG002
        return FINE

    def watch_delay_s(self, prefix: str) -> float:  # noqa: ARG002
        return 0.0

    def watch_cut(self, prefix: str) -> str | None:  # noqa: ARG002
        return None

    def member_reachable(self, server: str) -> bool:  # noqa: ARG002
        return True

    def lease_lag_s(self, lease: int) -> float:  # noqa: ARG002
        return 0.0
