"""The cluster as one command sees it: names and texts of the specs, and all run records.

Specs are parsed only when a command asks for their fields: names come from the manifest.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from clusterctl.connection import Connection
from clusterctl.objects import Ref
from reconciler.decide.monitor_status import MonitorView, monitor_view
from reconciler.decide.server_status import ServerView, server_view
from reconciler.decide.status import GroupView, group_view
from reconciler.decide.stored import StoredRecords, read_records
from reconciler.ports.store import Listing, WatchBatch

_END_WATCH_S = 2.0

if TYPE_CHECKING:
    from reconciler.repository import HeadInfo, StoredSet
    from specs.load import TypeCatalogue
    from specs.spec_set import SpecSet


@dataclass(frozen=True)
class Picture:
    """`specs` is None unless asked for; `stored` is revision 0 before the first apply."""

    stored: "StoredSet"
    records: StoredRecords
    wall: float
    specs: "SpecSet | None" = None

    @property
    def revision(self) -> int:
        return self.stored.revision

    def refs(self, kind: str) -> list[Ref]:
        """Objects of a kind, by name."""
        if kind == "Operation":
            return [Ref(kind, name) for name in sorted(self.records.operations)]
        found = {Ref(*name.split("/", 1)) for name in self.stored.objects}
        if kind == "Group":
            found |= {Ref(kind, name) for name in self._derived()}
        return sorted(ref for ref in found if ref.kind == kind)

    def _derived(self) -> dict[str, str]:
        """Groups that the cluster made for the side of a hybrid disk that follows, and for which
        group each was made."""
        return {
            name: record.follows
            for name, record in self.records.groups.items()
            if f"Group/{record.follows}" in self.stored.objects
        }

    def exists(self, ref: Ref) -> bool:
        return ref in self.refs(ref.kind)

    def text(self, ref: Ref) -> str:
        """The object's YAML exactly as written; raises `KeyError`."""
        if ref.kind == "Group" and (origin := self._derived().get(ref.name)) is not None:
            return f"# made by the cluster: it follows the hybrid disk of group/{origin}\n"
        return self.stored.objects[str(ref)].text

    def group(self, name: str) -> GroupView:
        pairs: list[tuple[str, str]] = []
        if self.specs is not None:
            pairs = [(r.metadata.name, r.spec.type) for r in self.specs.resources_of(name)]
        return group_view(name, self.records, pairs)

    def monitor(self, name: str) -> MonitorView:
        return monitor_view(name, self.records)

    def server(self, name: str) -> ServerView:
        levels: tuple[str, ...] = ()
        if self.specs is not None and name in self.specs.servers:
            fencing = self.specs.servers[name].spec.fencing
            levels = tuple(str(level.get("type")) for level in fencing.levels) if fencing else ()
        return server_view(name, self.records, now_wall=self.wall, fencing_levels=levels)

    def spec_json(self, ref: Ref) -> dict[str, Any]:
        """apiVersion, kind, metadata and spec with defaults filled in."""
        from specs.spec_set import ObjectRef

        if self.specs is None:
            raise KeyError(str(ref))
        if ref.kind == "Group" and (origin := self._derived().get(ref.name)) is not None:
            main = self.specs.objects[ObjectRef(ref.kind, origin)].model.to_json()
            return {**main, "metadata": {"name": ref.name}}
        return self.specs.objects[ObjectRef(ref.kind, ref.name)].model.to_json()


async def read_run(connection: Connection) -> StoredRecords:
    """All records under run/ and status/."""
    timeout_s = connection.settings.timeout_s
    run, status = await asyncio.gather(
        connection.store.list(connection.keys.run, timeout_s=timeout_s),
        connection.store.list(connection.keys.status, timeout_s=timeout_s),
    )
    return read_records(connection.keys, (*_pairs(run), *_pairs(status)))


def _pairs(listing: Listing) -> list[tuple[str, bytes]]:
    return [(item.key, item.value) for item in listing.items]


async def read_head(connection: Connection) -> "tuple[HeadInfo | None, StoredSet]":
    """The current revision and its texts: what a change is computed from and compared with."""
    head = await connection.repository.head()
    return head, await connection.repository.read(head.revision if head else None)


async def read_picture(
    connection: Connection, kinds: Iterable[str] = (), types: "TypeCatalogue | None" = None
) -> Picture:
    """Everything at once; specs of `kinds` are parsed (needs `types`)."""
    stored, records = await asyncio.gather(connection.repository.read(), read_run(connection))
    specs = None
    if types is not None:
        specs = parse_kinds(stored, kinds, types)
    return Picture(stored, records, connection.clock.wall(), specs)


def parse_kinds(stored: "StoredSet", kinds: Iterable[str], types: "TypeCatalogue") -> "SpecSet":
    """Only these kinds of a stored set; an object of a newer version raises `SpecErrors`."""
    from reconciler.spec_revisions import source_of
    from specs.load import load

    wanted = set(kinds)
    return load(
        [
            source_of(f"{name} (r{stored.revision})", found)
            for name, found in sorted(stored.objects.items())
            if name.split("/", 1)[0] in wanted
        ],
        types,
    )


def tell_silence(reason: str) -> None:
    """What a person who watches is told while nothing new can come."""
    click.echo(f"the store is silent: {reason}", err=True)


async def follow(
    connection: Connection,
    kinds: Iterable[str] = (),
    types: "TypeCatalogue | None" = None,
    on_silence: Callable[[str], None] = tell_silence,
) -> AsyncGenerator[Picture, None]:
    """A picture now and after each change under spec/head, run/ or status/, for ever.

    While the store is silent nothing new comes; `on_silence` hears why. Ends by raising the
    store's error only.
    """
    wanted = tuple(kinds)
    keys = connection.keys
    prefixes = (keys.run, keys.status, keys.head)
    items: dict[str, bytes] = {}
    stored = specs = None
    batches = connection.store.watch(keys.root)
    try:
        async for batch in batches:
            if batch.stale_reason:
                on_silence(batch.stale_reason)
            if batch.stale_reason and stored is None:
                continue
            changed = [change for change in batch.changes if change[0].startswith(prefixes)]
            if stored is not None and not changed:
                continue
            for key, value in changed:
                items.pop(key, None)
                if value is not None:
                    items[key] = value.value
            if stored is None or any(key == keys.head for key, _ in changed):
                stored = await connection.repository.read()
                if types is not None:
                    specs = parse_kinds(stored, wanted, types)
            records = read_records(keys, items.items())
            yield Picture(stored, records, connection.clock.wall(), specs)
    finally:
        await close(batches)


async def close(batches: AsyncIterator[WatchBatch]) -> None:
    """End a watch now, not when the collector finds it. One that does not end is left alone: no
    command hangs for what is over."""
    end = getattr(batches, "aclose", None)
    if end is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_WATCH_S):
                await end()
