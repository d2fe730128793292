"""The stored form of a spec revision: records, manifests, digests. No I/O.

`repository` writes and reads it; the agent assembles the current revision from its own mirror.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.decide.keys import Keys
from reconciler.decide.records import Record
from specs.load import Source, SpecSet, TypeCatalogue, load

_CHUNK_BYTES = 64 * 1024  # small chunks: a small apply rewrites one of them


class RepositoryError(Exception):
    """Base of what this module raises besides `StoreError`."""


class Conflict(RepositoryError):
    """Nothing was applied. `owned` names objects of other sources; else the head has moved."""

    def __init__(self, message: str, owned: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.owned = dict(owned or {})


class UnknownRevision(RepositoryError):
    """The revision never existed or is no longer kept."""


class Incomplete(RepositoryError):
    """A piece of the revision is not there (yet): read again."""


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """The current revision; `mod_revision` is that of the head's key."""

    revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object exactly as written, and the files that it names. `source` owns it."""

    text: str
    source: str
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionInfo:
    """Who made a revision, when (seconds since the epoch) and why. `rollback_of` is its model."""

    revision: int
    parent: int
    author: str
    time: float
    message: str
    source: str
    objects: int
    rollback_of: int | None = None


@dataclass(frozen=True, slots=True)
class StoredSet:
    """All objects of one revision by "Kind/name". Before the first apply: revision 0, no info."""

    revision: int
    objects: Mapping[str, StoredObject] = field(default_factory=dict)
    info: RevisionInfo | None = None


class Head(Record):
    """spec/head."""

    revision: int


class Revision(Record):
    """spec/revisions/<n>. `chunks` are the digests of its manifest."""

    revision: int
    parent: int
    author: str
    time: float
    message: str
    source: str
    chunks: tuple[str, ...]
    objects: int
    rollback_of: int | None = None

    def info(self) -> RevisionInfo:
        return RevisionInfo(
            self.revision,
            self.parent,
            self.author,
            self.time,
            self.message,
            self.source,
            self.objects,
            self.rollback_of,
        )


class Entry(NamedTuple):
    """One object in a manifest; `files` are digests by the name that the object's text uses."""

    sha256: str
    source: str
    files: tuple[tuple[str, str], ...] = ()

    @property
    def digests(self) -> frozenset[str]:
        """Everything that this entry keeps from being collected."""
        return frozenset({self.sha256, *(digest for _, digest in self.files)})


Manifest = dict[str, Entry]


def assemble(
    keys: Keys, value_of: Callable[[str], bytes | None], revision: int | None = None
) -> StoredSet:
    """A revision (by default the head's) out of a mirror of the prefix: key -> value.

    Raises `Incomplete` while pieces are missing and `UnknownRevision` when it is not kept.
    """
    if revision is None:
        head = value_of(keys.head)
        if head is None:
            return StoredSet(0)
        revision = Head.from_bytes(head).revision
    data = value_of(keys.revision(revision))
    if data is None:
        raise UnknownRevision(f"revision {revision} is not kept")
    record = Revision.from_bytes(data)
    manifest = join_manifest(value_of(keys.manifest(chunk)) for chunk in record.chunks)
    return stored_set(record, manifest, keys, value_of)


def load_stored(stored: StoredSet, types: TypeCatalogue) -> SpecSet:
    """Validate a stored revision; places in errors read "Kind/name:line". Raises `SpecErrors`."""
    return load([source_of(ref, item) for ref, item in sorted(stored.objects.items())], types)


def source_of(name: str, item: StoredObject) -> Source:
    """A stored object as the loader reads it, with its files as they were applied."""

    def read(path: str) -> bytes:
        if path not in item.files:
            raise ValueError(f"{path!r} was not stored with it")
        return item.files[path].encode()

    return Source(name, item.text.encode(), read)


def stored_set(
    record: Revision,
    manifest: Manifest,
    keys: Keys,
    value_of: Callable[[str], bytes | None],
) -> StoredSet:
    objects: dict[str, StoredObject] = {}
    for ref, entry in sorted(manifest.items()):
        texts: dict[str, str] = {}
        for name, digest in (("", entry.sha256), *entry.files):
            data = value_of(keys.spec_object(digest))
            if data is None:
                raise Incomplete(f"{ref} {name} of revision {record.revision} is missing")
            texts[name] = data.decode()
        text = texts.pop("")
        objects[ref] = StoredObject(text, entry.source, entry.sha256, texts)
    return StoredSet(record.revision, objects, record.info())


def split_manifest(manifest: Manifest) -> dict[str, bytes]:
    """Chunks by digest. An object's place depends on its name only, so chunks stay the same."""
    size = sum(
        len(ref) + len(e.source) + 100 + sum(len(path) + 100 for path, _ in e.files)
        for ref, e in manifest.items()
    )
    count = 1
    while size / count > _CHUNK_BYTES:
        count *= 2
    buckets: list[dict[str, dict[str, object]]] = [{} for _ in range(count)]
    for ref in sorted(manifest):
        bucket = buckets[int(digest_of(ref.encode())[:8], 16) % count]
        entry = manifest[ref]
        bucket[ref] = {"sha256": entry.sha256, "source": entry.source}
        if entry.files:
            bucket[ref]["files"] = dict(entry.files)
    texts = [json.dumps(bucket, separators=(",", ":")).encode() for bucket in buckets]
    return {digest_of(text): text for text in texts}


def join_manifest(chunks: Iterable[bytes | None]) -> Manifest:
    manifest: Manifest = {}
    for chunk in chunks:
        if chunk is None:
            raise Incomplete("a chunk of the manifest is missing")
        for ref, entry in json.loads(chunk).items():
            files = tuple(sorted(entry.get("files", {}).items()))
            manifest[ref] = Entry(entry["sha256"], entry["source"], files)
    return manifest


def head_value(revision: int) -> bytes:
    return Head(revision=revision, nonce=uuid.uuid4().hex).to_bytes()


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
