"""Spec revisions on a store: apply, read, history, rollback (docs/concepts.md).

Objects and manifest chunks are stored under their SHA-256 and never change. A revision names its
chunks; `spec/head` names the revision. What an apply writes stays invisible until the one
transaction that moves the head, so an apply of any size and a rollback are both one atomic flip.
Used by `clusterctl`; the agent uses `assemble` on its own mirror of the prefix.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.decide.keys import Keys
from reconciler.ports.store import (
    Delete,
    Indeterminate,
    KeyValue,
    Put,
    Store,
    Transaction,
    Unavailable,
    Unchanged,
)
from reconciler.spec_revisions import (
    Conflict,
    Entry,
    Head,
    HeadInfo,
    Incomplete,
    Manifest,
    RepositoryError,
    Revision,
    RevisionInfo,
    StoredObject,
    StoredSet,
    UnknownRevision,
    assemble,
    digest_of,
    head_value,
    join_manifest,
    load_stored,
    source_of,
    split_manifest,
    stored_set,
)

__all__ = [
    "Conflict",
    "HeadInfo",
    "Incomplete",
    "RepositoryError",
    "RevisionInfo",
    "SpecRepository",
    "StoredObject",
    "StoredSet",
    "UnknownRevision",
    "assemble",
    "load_stored",
    "source_of",
]

KEPT_REVISIONS = 100
_COLLECT_EVERY = 20  # revisions; leftovers of broken applies wait that long
_BATCH_OPERATIONS = 120
_BATCH_BYTES = 1_000_000
_TRIES = 8
_LIST_ABOVE = 64  # objects; fewer are fetched one by one
_JITTER = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class _State:
    """What an apply starts from."""

    revision: int
    head_mod: int
    manifest: Manifest
    chunks: tuple[str, ...]


class SpecRepository:
    """`wall` gives seconds since the epoch, for people to read."""

    def __init__(self, store: Store, keys: Keys, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._keys = keys
        self._wall = wall

    async def head(self) -> HeadInfo | None:
        """None before the first apply."""
        stored = await self._store.get(self._keys.head)
        if stored is None:
            return None
        return HeadInfo(Head.from_bytes(stored.value).revision, stored.mod_revision)

    async def read(self, revision: int | None = None) -> StoredSet:
        """A revision, by default the current one. Raises `UnknownRevision`."""
        for attempt in range(_TRIES):
            head = await self.head()
            wanted = revision if revision is not None else (head.revision if head else 0)
            if wanted == 0:
                return StoredSet(0)
            try:
                return await self._read(wanted)
            except Incomplete:
                # It was collected while we read: the next head is complete again.
                if attempt == _TRIES - 1:
                    raise
            await _pause(attempt)
        raise AssertionError("unreachable")

    async def _read(self, revision: int) -> StoredSet:
        record = await self._revision(revision)
        manifest = await self._manifest(record.chunks)
        digests = _digests(manifest)
        prefix = self._keys.spec_object("")
        if len(digests) > _LIST_ABOVE:
            listing = await self._store.list(prefix, timeout_s=20.0)
            found = {item.key: item.value for item in listing.items}
        else:
            found = await self._get_all([prefix + digest for digest in sorted(digests)])
        return stored_set(record, manifest, self._keys, found.get)

    async def _revision(self, revision: int) -> Revision:
        stored = await self._store.get(self._keys.revision(revision))
        if stored is None:
            raise UnknownRevision(f"revision {revision} is not kept; see the history")
        return Revision.from_bytes(stored.value)

    async def _manifest(self, chunks: Iterable[str]) -> Manifest:
        names = [self._keys.manifest(chunk) for chunk in chunks]
        found = await self._get_all(names)
        return join_manifest(found.get(name) for name in names)

    async def _get_all(self, keys: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), 16):
            part = keys[start : start + 16]
            for stored in await asyncio.gather(*(self._store.get(key) for key in part)):
                if stored is not None:
                    found[stored.key] = stored.value
        return found

    async def history(self) -> tuple[RevisionInfo, ...]:
        """The kept revisions, newest first."""
        listing = await self._store.list(self._keys.revisions)
        return tuple(Revision.from_bytes(item.value).info() for item in reversed(listing.items))

    async def apply(
        self,
        texts: Mapping[str, str],
        *,
        source: str,
        author: str,
        message: str,
        expected_head: HeadInfo | None,
        files: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        remove: Set[str] = frozenset(),
        force: bool = False,
    ) -> int:
        """Add or replace `texts` ("Kind/name": YAML) and remove others; the new revision. `files`
        are what the texts name: "Kind/name" -> name of a file -> its content.

        What is the same already makes no revision. `expected_head` is what the change was
        computed from (None: nothing was ever applied). Raises `Conflict` when the head is another
        one, or when an object belongs to another source and `force` is off; forcing takes it over.
        """

        expected = expected_head.revision if expected_head else 0

        def change(state: _State) -> Manifest:
            if state.revision != expected:
                raise Conflict(
                    f"the specs are at revision {state.revision}, not at {expected}: "
                    "somebody applied in between"
                )
            if not force:
                _check_owners(state.manifest, set(texts) | set(remove), source)
            manifest = {ref: e for ref, e in state.manifest.items() if ref not in remove}
            manifest |= {ref: _entry(text, source, files.get(ref)) for ref, text in texts.items()}
            return manifest

        named = (text for ref in texts for text in files.get(ref, {}).values())
        objects = {digest_of(data): data for data in map(str.encode, (*texts.values(), *named))}
        record = Revision(
            revision=0,
            parent=0,
            author=author,
            time=self._wall(),
            message=message,
            source=source,
            chunks=(),
            objects=0,
        )
        return await self._flip(record, objects, change)

    async def rollback(self, to: int, *, author: str = "", message: str = "") -> int:
        """A new revision with the objects of `to`. Raises `UnknownRevision` and `Conflict`."""
        old = await self._revision(to)
        record = old.model_copy(
            update={
                "author": author,
                "time": self._wall(),
                "message": message or f"rollback to revision {to}",
                "rollback_of": to,
            }
        )
        manifest = await self._manifest(old.chunks)
        wanted = await self._read(to)
        texts = (t for item in wanted.objects.values() for t in (item.text, *item.files.values()))
        objects = {digest_of(data): data for data in map(str.encode, texts)}
        return await self._flip(record, objects, lambda _state: manifest)

    async def _flip(
        self,
        record: Revision,
        objects: Mapping[str, bytes],
        change: Callable[[_State], Manifest],
    ) -> int:
        for attempt in range(_TRIES):
            state = await self._state()
            manifest = change(state)
            if manifest == state.manifest and state.revision:
                return state.revision
            chunks = split_manifest(manifest)
            # Everything that the head does not hold is written (again): only what the head holds
            # is safe from a collection that runs meanwhile, as that one moves the head's key.
            wanted = _digests(manifest) - _digests(state.manifest)
            pieces = {self._keys.spec_object(name): objects[name] for name in sorted(wanted)}
            pieces |= {
                self._keys.manifest(name): data
                for name, data in chunks.items()
                if name not in state.chunks
            }
            new = record.model_copy(
                update={
                    "revision": state.revision + 1,
                    "parent": state.revision,
                    "chunks": tuple(chunks),
                    "objects": len(manifest),
                }
            )
            if await self._write(pieces, state) and await self._move_head(new, state):
                if new.revision % _COLLECT_EVERY == 0:
                    await self.collect()
                return new.revision
            await _pause(attempt)
        raise Conflict("the head moved at each try: others apply at the same time")

    async def _state(self) -> _State:
        for attempt in range(_TRIES):
            stored = await self._store.get(self._keys.head)
            if stored is None:
                return _State(0, 0, {}, ())
            revision = Head.from_bytes(stored.value).revision
            try:
                record = await self._revision(revision)
                manifest = await self._manifest(record.chunks)
            except (UnknownRevision, Incomplete):
                if attempt == _TRIES - 1:
                    raise
                await _pause(attempt)
                continue
            return _State(revision, stored.mod_revision, manifest, record.chunks)
        raise AssertionError("unreachable")

    async def _write(self, pieces: Mapping[str, bytes], state: _State) -> bool:
        """Store what is invisible yet, in batches; False when the head has moved."""
        batch: list[Put] = []
        size = 0
        for key, data in pieces.items():
            if batch and (len(batch) >= _BATCH_OPERATIONS or size + len(data) > _BATCH_BYTES):
                if not await self._write_batch(tuple(batch), state):
                    return False
                batch, size = [], 0
            batch.append(Put(key, data))
            size += len(data) + len(key)
        return not batch or await self._write_batch(tuple(batch), state)

    async def _write_batch(self, operations: tuple[Put | Delete, ...], state: _State) -> bool:
        unmoved = (Unchanged(self._keys.head, state.head_mod),)
        for attempt in range(_TRIES):
            try:
                # Named by content, so writing twice is harmless.
                result = await self._store.commit(Transaction(unmoved, operations), timeout_s=5.0)
            except (Indeterminate, Unavailable):
                if attempt == _TRIES - 1:
                    raise
                await _pause(attempt)
                continue
            return result.succeeded
        raise AssertionError("unreachable")

    async def _move_head(self, new: Revision, state: _State) -> bool:
        """The flip; False when the head moved before."""
        key = self._keys.revision(new.revision)
        operations: list[Put | Delete] = [
            Put(key, new.to_bytes()),
            Put(self._keys.head, head_value(new.revision)),
        ]
        if new.revision > KEPT_REVISIONS:
            operations.append(Delete(self._keys.revision(new.revision - KEPT_REVISIONS)))
        result = await self._store.commit(
            Transaction(
                (Unchanged(self._keys.head, state.head_mod),),
                tuple(operations),
                guard=self._keys.head,
            ),
            timeout_s=5.0,
        )
        return result.succeeded

    async def collect(self) -> int:
        """Delete objects and chunks that no kept revision names; how many. Stops at any change.

        Each batch rewrites the head's key, so that an apply under way, whose pieces nobody names
        yet, sees it at its flip and writes them again.
        """
        revisions = await self._store.list(self._keys.revisions)
        records = [Revision.from_bytes(item.value) for item in revisions.items]
        named = {self._keys.manifest(chunk) for record in records for chunk in record.chunks}
        chunks = await self._store.list(self._keys.manifest(""), timeout_s=20.0)
        objects = await self._store.list(self._keys.spec_object(""), timeout_s=20.0)
        for item in chunks.items:
            if item.key in named:
                digests = _digests(join_manifest([item.value]))
                named |= {self._keys.spec_object(digest) for digest in digests}
        unnamed = [i.key for i in (*chunks.items, *objects.items) if i.key not in named]
        head = await self._store.get(self._keys.head)
        # Whoever applied since the listing may name what looked unnamed.
        if head is None or head.mod_revision > revisions.revision:
            return 0
        return await self._delete(unnamed, head)

    async def _delete(self, keys: list[str], head: KeyValue) -> int:
        revision, expected = Head.from_bytes(head.value).revision, head.mod_revision
        for start in range(0, len(keys), _BATCH_OPERATIONS):
            part = keys[start : start + _BATCH_OPERATIONS]
            touch = Put(self._keys.head, head_value(revision))
            result = await self._store.commit(
                Transaction(
                    (Unchanged(self._keys.head, expected),),
                    (touch, *(Delete(key) for key in part)),
                    guard=self._keys.head,
                ),
                timeout_s=5.0,
            )
            if not result.succeeded:
                return start
            expected = result.revision
        return len(keys)


def _entry(text: str, source: str, files: Mapping[str, str] | None) -> Entry:
    digests = {name: digest_of(content.encode()) for name, content in (files or {}).items()}
    return Entry(digest_of(text.encode()), source, tuple(sorted(digests.items())))


def _digests(manifest: Manifest) -> set[str]:
    """Names of all pieces that the manifest's objects are made of."""
    return {digest for entry in manifest.values() for digest in entry.digests}


def _check_owners(manifest: Manifest, refs: Set[str], source: str) -> None:
    owned = {
        ref: manifest[ref].source
        for ref in sorted(refs)
        if ref in manifest and manifest[ref].source != source
    }
    if owned:
        first, owner = next(iter(owned.items()))
        more = f" and {len(owned) - 1} more" if len(owned) > 1 else ""
        raise Conflict(f"{first}{more} belongs to source {owner!r}, not to {source!r}", owned)


async def _pause(attempt: int) -> None:
    await asyncio.sleep(min(0.01 * 2**attempt, 0.5) * _JITTER.uniform(0.5, 1.5))
