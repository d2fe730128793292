"""The heartbeat on the wire: layout, authentication, schema number. `process` uses it.

One datagram is `header | JSON body | tag`:

    magic (4 bytes "cctl") | schema (1) | key id (8) | body (UTF-8 JSON) | HMAC-SHA256 (32)

The tag covers everything before it. Each datagram names sender, recipient, path and cluster, so a
recorded one cannot be replayed to another server, on another network or in another cluster.

Keys rotate without a gap: a server may hold two keys, accepts both, names them in each heartbeat,
and signs for each peer with the newest that the peer holds too.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAGIC = b"cctl"
SCHEMA = 1
READABLE_SCHEMAS = (1,)
MAX_DATAGRAM = 8192
_KEY_ID = 8
_TAG = 32
_HEADER = len(MAGIC) + 1 + _KEY_ID
_encode = json.JSONEncoder(separators=(",", ":")).encode
STORE_STATES = ("quorum", "no-quorum", "unknown")


class Refused(Exception):
    """A datagram that is not a heartbeat of ours; `reason` is one word for the counters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One heartbeat. `start` is a random id of the sending pulse process, `echo` the recipient's
    `start` as the sender last heard it; `silent` and `suspect` are the sender's view of others,
    `keys` the ids of the keys that it accepts."""

    cluster: str
    sender: str
    to: str
    path: str
    boot_id: str
    start: str
    sequence: int
    echo: str | None = None
    silent: frozenset[str] = frozenset()
    suspect: frozenset[str] = frozenset()
    store: str = "unknown"
    agent_alive: bool = False
    keys: tuple[str, ...] = ()


class KeyRing:
    """The cluster keys that are valid now, newest first (one, or two while rotating)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("at least one cluster key of 16 bytes or more is needed")
        self._by_id: Mapping[bytes, bytes] = {key_id(key): key for key in keys}
        self.ids = tuple(known.hex() for known in self._by_id)

    def __repr__(self) -> str:  # never the keys themselves
        return f"KeyRing({len(self._by_id)} keys)"

    def seal(self, beat: Heartbeat, theirs: Sequence[str] = ()) -> bytes:
        """The datagram of one heartbeat to a peer that holds the keys with the ids `theirs`.

        While that is unknown, or none of them is ours, our keys take turns.
        """
        common = [known for known in self._by_id if known.hex() in theirs]
        turns = list(self._by_id)
        chosen = common[0] if common else turns[beat.sequence % len(turns)]
        head = MAGIC + bytes([SCHEMA]) + chosen + _body(beat)
        return head + hmac.digest(self._by_id[chosen], head, "sha256")

    def open(self, datagram: bytes) -> Heartbeat:
        """The heartbeat of an authentic datagram; raises `Refused`."""
        if len(datagram) < _HEADER + _TAG or not datagram.startswith(MAGIC):
            raise Refused("malformed")
        if datagram[len(MAGIC)] not in READABLE_SCHEMAS:
            raise Refused("schema")
        key = self._by_id.get(datagram[len(MAGIC) + 1 : _HEADER])
        if key is None:
            raise Refused("unknown-key")
        if not hmac.compare_digest(hmac.digest(key, datagram[:-_TAG], "sha256"), datagram[-_TAG:]):
            raise Refused("forged")
        return _parse(datagram[_HEADER:-_TAG])


def key_id(key: bytes) -> bytes:
    """Public name of a key: tells which one signed, gives nothing of it away."""
    return hashlib.sha256(b"clusterctl heartbeat key " + key).digest()[:_KEY_ID]


def _body(beat: Heartbeat) -> bytes:
    fields = {
        "cluster": beat.cluster,
        "sender": beat.sender,
        "to": beat.to,
        "path": beat.path,
        "boot_id": beat.boot_id,
        "start": beat.start,
        "seq": beat.sequence,
        "echo": beat.echo,
        "silent": sorted(beat.silent),
        "suspect": sorted(beat.suspect),
        "store": beat.store,
        "agent": beat.agent_alive,
        "keys": beat.keys,
    }
    return _encode(fields).encode()


def _parse(body: bytes) -> Heartbeat:
    try:
        fields = json.loads(body)
        beat = Heartbeat(
            cluster=_text(fields["cluster"]),
            sender=_text(fields["sender"]),
            to=_text(fields["to"]),
            path=_text(fields["path"]),
            boot_id=_text(fields["boot_id"]),
            start=_text(fields["start"]),
            sequence=int(fields["seq"]),
            echo=None if fields["echo"] is None else _text(fields["echo"]),
            silent=frozenset(_text(name) for name in fields["silent"]),
            suspect=frozenset(_text(name) for name in fields["suspect"]),
            store=_text(fields["store"]),
            agent_alive=bool(fields["agent"]),
            keys=tuple(_text(known) for known in fields["keys"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("malformed") from error
    if beat.store not in STORE_STATES:
        raise Refused("malformed")
    return beat


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value
