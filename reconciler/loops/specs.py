"""Follows the head of the spec repository: each revision is read and validated as a whole."""

from collections.abc import AsyncIterator, Awaitable, Callable

from reconciler.decide.keys import Keys
from reconciler.decide.snapshot import Specs
from reconciler.decide.standby_side import specs_of
from reconciler.ports.clock import Clock
from reconciler.ports.events import Events
from reconciler.ports.store import Store, StoreError
from specs.errors import SpecErrors
from specs.load import SpecSet

RETRY_S = 0.5

ReadHead = Callable[[], Awaitable[tuple[int, SpecSet] | None]]


class RepositorySpecs:
    """`read_head` gives the head's number and set, None while nothing was applied."""

    def __init__(
        self, store: Store, keys: Keys, clock: Clock, events: Events, read_head: ReadHead
    ) -> None:
        self._store, self._keys, self._clock, self._events = store, keys, clock, events
        self._read_head = read_head
        self._seen = 0

    async def changes(self) -> AsyncIterator[Specs]:
        """See `ports.specs.SpecSource`. A revision that cannot be read is reported, and the last
        one stays in force."""
        async for batch in self._store.watch(self._keys.head):
            if batch.stale_reason is not None or not batch.changes:
                continue
            specs = await self._read_until_known()
            if specs is not None:
                yield specs

    async def _read_until_known(self) -> Specs | None:
        while True:
            try:
                found = await self._read_head()
            except StoreError as error:
                self._events.emit("specs_read_failed", error=str(error))
                await self._clock.sleep(RETRY_S)
                continue
            except (SpecErrors, ValueError) as errors:
                # Written by a newer or a damaged tool: keep what is in force, loudly.
                self._events.emit("specs_refused", error=str(errors))
                return None
            if found is None or found[0] == self._seen:
                return None
            revision, spec_set = found
            self._seen = revision
            return specs_of(spec_set, revision)
