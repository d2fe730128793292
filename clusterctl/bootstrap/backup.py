"""A backup as a file: what the store must not lose, and on wish the secrets of this server.

One gzipped tar: `manifest.json` (what it is, SHA-256 of every other file), `store.jsonl` (one key a
line, all of one revision), `cluster.json`, and with secrets `secrets/…`. Sessions, status and other
records that only a running cluster can mean are not in it. Used by commands/backup.py.
"""

import base64
import binascii
import gzip
import hashlib
import io
import json
import os
import secrets
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from clusterctl.bootstrap.layout import BootstrapError, Layout
from reconciler.decide.keys import Keys
from reconciler.ports.store import KeyValue, Store

FORMAT = 1
SIZE_LIMIT = 2 * 1024**3
SECRETS = ("pki/ca.key", "pki/ca.crt", "cluster.key")
NEXT = "take another backup file: this one can not be trusted"


class Manifest(BaseModel):
    """What a backup holds; `files` maps a name in it to its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    cluster: str
    server: str
    revision: int
    store_id: str
    specs_revision: int | None
    keys: int
    created: str
    version: str
    files: dict[str, str]

    @property
    def has_secrets(self) -> bool:
        return any(name.startswith("secrets/") for name in self.files)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read and proved whole: `values` by key, `files` by name."""

    manifest: Manifest
    values: Mapping[str, bytes]
    files: Mapping[str, bytes]


def belongs(keys: Keys, key: str) -> bool:
    """Whether a restored cluster needs this key. Everything else is of running servers, whose word
    is asked for again: who owns what is never believed from a backup. Nor who has all data of a
    mirror; but that it has been served, and which consents are used up, only these records say."""
    path = keys.parse(key)
    return (
        path[0] == "spec"
        or path[:2] in (("run", "groups"), ("run", "mirrors"), ("run", "consents"))
        or path == ("run", "store")
        or (path[0] == "tokens" and path[1].startswith("server-"))
    )


async def collect(store: Store, keys: Keys) -> tuple[int, tuple[KeyValue, ...]]:
    """(revision, all keys that belong into a backup). Raises `StoreError`."""
    listing = await store.list(keys.root, timeout_s=30.0)
    return listing.revision, tuple(item for item in listing.items if belongs(keys, item.key))


def store_lines(items: Iterable[KeyValue]) -> bytes:
    lines = (
        json.dumps({"key": item.key, "value": base64.b64encode(item.value).decode()})
        for item in items
    )
    return ("\n".join(lines) + "\n").encode()


def secret_files(layout: Layout) -> dict[str, bytes]:
    """The keys of the CA and of the heartbeats. Raises `BootstrapError` where they are not."""
    found = {}
    for name in SECRETS:
        path = layout.configuration / name
        try:
            found[f"secrets/{name}"] = path.read_bytes()
        except OSError as error:
            raise BootstrapError(
                f"{path} can not be read ({error.strerror}): take a backup with secrets on the "
                "server that holds the CA's key"
            ) from error
    return found


def write(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write the backup durably, readable by its owner only; never over an existing file."""
    content = {"manifest.json": (manifest.model_dump_json(indent=2) + "\n").encode(), **files}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as tar:
                for name, data in content.items():
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(data), 0o600
                    tar.addfile(entry, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename it never replaces
        except FileExistsError:
            raise BootstrapError(f"{path} exists already; give another name") from None
    finally:
        temporary.unlink(missing_ok=True)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


def read(path: Path) -> Backup:
    """Read a backup and compare every checksum. Raises `BootstrapError`."""
    files = _unpack(path)
    try:
        manifest = Manifest.model_validate_json(files.pop("manifest.json"))
    except (KeyError, ValidationError) as error:
        raise BootstrapError(f"{path} is not a backup of clusterctl") from error
    if manifest.format != FORMAT:
        raise BootstrapError(f"{path} has format {manifest.format}, this version reads {FORMAT}")
    if digests(files) != manifest.files:
        raise BootstrapError(f"{path} is damaged: its checksums do not fit; {NEXT}")
    try:
        values = _values(files["store.jsonl"])
    except (KeyError, ValueError, TypeError, binascii.Error) as error:
        raise BootstrapError(f"{path} is damaged; {NEXT}") from error
    return Backup(manifest, values, files)


def _unpack(path: Path) -> dict[str, bytes]:
    """Members by name; nothing is written to disk, so names can not lead anywhere."""
    found: dict[str, bytes] = {}
    left = SIZE_LIMIT
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isfile() else None
                if file is None or entry.size > left:
                    raise BootstrapError(f"{path} is not a backup of clusterctl")
                left -= entry.size
                found[entry.name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BootstrapError(f"{path} is damaged or no backup ({error}); {NEXT}") from error
    except OSError as error:
        raise BootstrapError(f"{path} can not be read: {error.strerror or error}") from error
    return found


def _values(lines: bytes) -> dict[str, bytes]:
    found = {}
    for line in lines.decode().splitlines():
        entry = json.loads(line)
        found[str(entry["key"])] = base64.b64decode(entry["value"], validate=True)
    return found
