"""Read a watch in tests: collect batches until something is seen, with a deadline."""

import asyncio
from collections.abc import AsyncIterator, Callable

from reconciler.ports.store import KeyValue, Store, WatchBatch

DEADLINE_S = 20.0


class Watched:
    """What one watch has shown so far: `batches` as they came, `keys` as they add up."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._source: AsyncIterator[WatchBatch] = store.watch(prefix)
        self.batches: list[WatchBatch] = []
        self.keys: dict[str, bytes] = {}

    async def until(self, condition: Callable[["Watched"], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not self.batches or not condition(self):
                self._take(await anext(self._source))

    def _take(self, batch: WatchBatch) -> None:
        self.batches.append(batch)
        for key, stored in batch.changes:
            if stored is None:
                self.keys.pop(key, None)
            else:
                self.keys[key] = stored.value

    @property
    def changes(self) -> list[tuple[str, KeyValue | None]]:
        return [change for batch in self.batches for change in batch.changes]

    @property
    def last(self) -> WatchBatch:
        return self.batches[-1]

    async def close(self) -> None:
        await self._source.aclose()  # type: ignore[attr-defined]
