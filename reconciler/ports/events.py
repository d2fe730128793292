"""Where typed events go: the log, the local append-only file, the store."""

from typing import Any, Protocol


class Events(Protocol):
    def emit(self, name: str, /, **fields: Any) -> None:
        """Record one event of the catalogue (`reconciler.events`). Never blocks, never raises."""
        ...
