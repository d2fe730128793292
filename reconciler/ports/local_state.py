"""What this server must remember over a restart of its agent, or of itself."""

from collections.abc import Mapping
from typing import Any, Protocol

from reconciler.decide.snapshot import KnownStore, PastAction


class LocalState(Protocol):
    """Small files of this server. A write returns only once it is durable."""

    def dropped_epochs(self) -> Mapping[str, int]:
        """Highest epoch of each group that this server gave up for good."""
        ...

    def drop_epoch(self, group: str, epoch: int) -> None:
        """Remember, durably, that this epoch is never activated here again."""
        ...

    def known_store(self) -> KnownStore | None:
        """The store that this server worked with last; raises `ValueError` if unreadable."""
        ...

    def remember_store(self, known: KnownStore) -> None:
        """Remember it durably."""
        ...

    def machine_actions(self) -> tuple[PastAction, ...]:
        """The newest final actions that this server took on itself; durable over reboots."""
        ...

    def remember_machine_actions(self, actions: tuple[PastAction, ...]) -> None:
        """Replace them, durably."""
        ...

    def started_groups(self) -> Mapping[str, Mapping[str, Any]]:
        """For each group that may run here: {"epoch": int, "resources": {name: spec as JSON},
        "on_store_loss": "keep" or "stop"}; no resources when what was written down is damaged."""
        ...

    def save_started(self, group: str, started: Mapping[str, Any] | None) -> None:
        """Remember what is about to be started; None forgets the group."""
        ...
