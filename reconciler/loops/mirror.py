"""This server's copy of what the store holds under run/ and status/: fed by watches, read by
`AgentState.snapshot`. A hint for decisions; proofs are compared in transactions."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from reconciler.decide.keys import Keys
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import (
    Answer,
    Challenge,
    Coordinator,
    Cordon,
    FenceIntent,
    FenceRecord,
    GroupStatus,
    Hold,
    MirrorRecord,
    MonitorStatus,
    Operation,
    Ownership,
    Record,
    Release,
    ServerFacts,
    Session,
    StoreLife,
    Verdict,
)
from reconciler.decide.snapshot import Stored
from reconciler.ports.clock import Clock
from reconciler.ports.events import Events
from reconciler.ports.store import KeyValue, Store, StoreError, WatchBatch

MAPS: dict[str, type[Record]] = {
    "sessions": Session,
    "groups": Ownership,
    "releases": Release,
    "fences": FenceRecord,
    "verdicts": Verdict,
    "operations": Operation,
    "challenges": Challenge,
    "answers": Answer,
    "cordons": Cordon,
    "holds": Hold,
    "mirrors": MirrorRecord,
}
SINGLES: dict[str, type[Record]] = {
    "coordinator": Coordinator,
    "fence-slot": FenceIntent,
    "store": StoreLife,
}


class Mirror:
    """Typed records by name. `on_change` is called after each batch that changed something;
    `on_record` for each changed record, before it."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        clock: Clock,
        events: Events,
        on_change: Callable[[], None],
        on_record: Callable[[str, str, Stored[Any] | None], None],
    ) -> None:
        self._keys, self._store, self._clock, self._events = keys, store, clock, events
        self._on_change, self._on_record = on_change, on_record
        self.maps: dict[str, dict[str, Stored[Any]]] = {name: {} for name in MAPS}
        self.singles: dict[str, Stored[Any] | None] = dict.fromkeys(SINGLES)
        self.group_status: dict[tuple[str, str], GroupStatus] = {}
        self.monitor_status: dict[tuple[str, str], MonitorStatus] = {}
        self.mirror_status: dict[tuple[str, str], MirrorStatus] = {}
        self.clock_offsets: dict[str, float] = {}  # by how much another server's clock is ahead
        self.revision = 0
        self.store_id = ""
        self.fresh_at = float("-inf")
        # When the end of a session was seen, and from when on none can have come and gone unseen.
        self.absent_since: dict[str, float] = {}
        self.complete_since: float | None = None
        self.synced = asyncio.Event()
        self.status_synced = asyncio.Event()
        # Keys whose value cannot be read, with its revision: unknown, never absent.
        self.unreadable: dict[str, int] = {}
        # Deleted keys: their last revision, so that a late batch can't bring them back.
        self._gone: dict[str, int] = {}

    async def follow_run(self) -> None:
        """Runs for ever; raises only `Denied`."""
        async for batch in self._store.watch(self._keys.run):
            if batch.listed:
                self.absent_since.clear()
                self.complete_since = self._clock.now()
            self._take(batch)
            if batch.stale_reason is None:
                self.fresh_at = self._clock.now()
                self.synced.set()

    async def follow_status(self) -> None:
        """Runs for ever; raises only `Denied`."""
        async for batch in self._store.watch(self._keys.status):
            self._take(batch)
            if batch.stale_reason is None:
                self.status_synced.set()

    def _take(self, batch: WatchBatch) -> None:
        if batch.stale_reason is not None:
            self._events.emit("store_watch_stale", reason=batch.stale_reason)
            return
        for key, item in batch.changes:
            self._take_change(key, item, batch.revision)
        self.revision = max(self.revision, batch.revision)
        self.store_id = self._store.store_id
        if batch.changes:
            self._on_change()

    def _take_change(self, key: str, item: KeyValue | None, revision: int) -> None:
        """A batch is in order but carries one revision: a key that it deletes may come again in
        the same batch, so the deletion leaves no mark."""
        self.put(key, item, revision)
        if item is None:
            self._gone.pop(key, None)

    def apply_own(self, key: str, value: bytes | None, revision: int) -> None:
        """A write of our own that is known to have happened, before the watch says so."""
        item = None
        if value is not None:
            item = KeyValue(key, value, create_revision=revision, mod_revision=revision)
        self.put(key, item, revision)

    def put(self, key: str, item: KeyValue | None, revision: int) -> None:
        path = self._keys.parse(key)
        if path[0] == "status":
            self._put_status(key, path, item)
            return
        if path[0] != "run" or len(path) < 2:
            return
        model = MAPS.get(path[1]) or SINGLES.get(path[1])
        if model is None or len(path) != (2 if path[1] in SINGLES else 3):
            return
        stored = self._current(path)
        held = stored.mod_revision if stored else self.unreadable.get(key)
        if item is None:
            if held is None or held > revision:
                return
            self._gone[key] = revision
            self.unreadable.pop(key, None)
            if path[1] == "sessions":
                self.absent_since[path[2]] = self._clock.now()
            self._assign(path, None)
            return
        if item.mod_revision <= (held if held is not None else self._gone.get(key, 0)):
            return
        self._gone.pop(key, None)
        if path[1] == "sessions":
            self.absent_since.pop(path[2], None)
        record = self._parse(key, item.value, model)
        if record is None:
            # The last readable version is over: deciding by it would be as wrong as by none.
            self.unreadable[key] = item.mod_revision
            self._assign(path, None)
            return
        self.unreadable.pop(key, None)
        self._assign(path, Stored(record, item.mod_revision, self._clock.now()))

    def _current(self, path: tuple[str, ...]) -> Stored[Any] | None:
        if path[1] in SINGLES:
            return self.singles[path[1]]
        return self.maps.get(path[1], {}).get(path[2]) if len(path) > 2 else None

    def _assign(self, path: tuple[str, ...], stored: Stored[Any] | None) -> None:
        if path[1] in SINGLES:
            self.singles[path[1]] = stored
            self._on_record(path[1], "", stored)
            return
        table = self.maps[path[1]]
        if stored is None:
            table.pop(path[2], None)
        else:
            table[path[2]] = stored
        self._on_record(path[1], path[2], stored)

    def _put_status(self, key: str, path: tuple[str, ...], item: KeyValue | None) -> None:
        if len(path) == 3 and path[2] == "facts":
            self._compare_clocks(key, path[1], item)
            return
        tables: dict[str, tuple[type[Record], dict[tuple[str, str], Any]]] = {
            "groups": (GroupStatus, self.group_status),
            "monitors": (MonitorStatus, self.monitor_status),
            "mirrors": (MirrorStatus, self.mirror_status),
        }
        if len(path) != 4 or path[2] not in tables:
            return
        model, table = tables[path[2]]
        where = (path[1], path[3])
        self.unreadable.pop(key, None)
        table.pop(where, None)
        if item is None:
            return
        record = self._parse(key, item.value, model)
        if record is None:
            self.unreadable[key] = item.mod_revision
        else:
            table[where] = record

    def _compare_clocks(self, key: str, server: str, item: KeyValue | None) -> None:
        """Only what comes while we watch is fresh: a listing may be of any age."""
        if item is None or not self.status_synced.is_set():
            return
        facts = self._parse(key, item.value, ServerFacts)
        if isinstance(facts, ServerFacts):
            self.clock_offsets[server] = facts.at_wall - self._clock.wall()

    def _parse(self, key: str, value: bytes, model: type[Record]) -> Record | None:
        try:
            record = model.from_bytes(value)
        except ValidationError as error:
            self._events.emit("record_unreadable", key=key, error=str(error.errors()[0]["msg"]))
            return None
        return record

    async def reread(self) -> None:
        """List run/ once more, without waiting for the watch; errors are left to the watch."""
        try:
            listing = await self._store.list(self._keys.run)
        except StoreError as error:
            self._events.emit("store_read_failed", error=str(error))
            return
        for item in listing.items:
            self.put(item.key, item, listing.revision)
        self._on_change()
