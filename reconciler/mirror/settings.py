"""What the engine of one mirror is told at its start: one JSON file, written by the agent."""

import hashlib
import hmac
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

SHARED_METADATA = 64 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """`data` and `metadata` are files or devices; `directory` holds the served file and the control
    socket. `listen` are addresses of this server, `peers` those of the other one, best first.
    `size` is in bytes, `limit` in bytes a second (0: none). `boot` is the id of this power-on.
    `peer_port` 0 is the same `port`. `shared`: `data` and `metadata` are one disk that several
    servers see, with the metadata in its first `SHARED_METADATA` bytes. `pki`: the
    directory of the certificates that encrypt the connection; empty: it is plain. `compress`: what
    is copied, and all that an asynchronous mirror sends."""

    resource: str
    server: str
    peer: str
    data: str
    metadata: str
    size: int
    directory: str
    boot: str
    port: int
    listen: tuple[str, ...]
    peers: tuple[str, ...]
    key_file: str
    asynchronous: bool = False
    timeout_s: float = 2.0
    connect_timeout_s: float = 2.0
    limit: int = 0
    queue_limit: int = 256 << 20
    history: str = ""
    peer_port: int = 0
    shared: bool = False
    pki: str = ""
    compress: bool = False

    @property
    def control(self) -> str:
        return f"{self.directory}/control.sock"

    @property
    def ping_s(self) -> float:
        """Between signs of life of either side: the one that serves waits `timeout_s` for them."""
        return self.timeout_s / 4

    @property
    def served(self) -> str:
        return f"{self.directory}/disk"

    def to_json(self) -> str:
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, indent=1)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `OSError` and `ValueError`."""
        found = json.loads(path.read_text())
        for name in ("listen", "peers"):
            found[name] = tuple(found[name])
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError(f"{path}: {error}") from None

    def keys(self) -> list[bytes]:
        """Secrets that prove a side, one a line, the newest first: several are valid while they are
        exchanged. Raises `OSError`."""
        return Path(self.key_file).read_bytes().split()


def proves(keys: list[bytes], found: str, who: str, *rest: Any) -> bool:
    """Whether `found` was made with one of the keys; see `proof`."""
    return any(hmac.compare_digest(proof(key, who, *rest), found) for key in keys)


def proof(key: bytes, who: str, resource: str, epoch: int, mine: str, theirs: str) -> str:
    """What `who` ("source" or "target") answers to a challenge; binds both nonces and the epoch."""
    text = "\0".join((who, resource, str(epoch), mine, theirs))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
