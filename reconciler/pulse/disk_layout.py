"""What a heartbeat disk holds, byte by byte. Pure; the pulse, the fence type `disk` and the command
that prepares a disk use it.

A header, one slot per server, two blocks per server for the mailbox, all at fixed places. All sizes
are multiples of 4096, for O_DIRECT. A slot holds the newest heartbeats of one server:

    count (2 bytes) | count x ( length (2) | datagram )

Datagrams are signed (`packet`), so a torn or foreign slot says nothing instead of something wrong.
The mailbox holds two notes, JSON with a checksum: the server's own *promise* of how soon it ends
when it cannot read its mailbox or finds a *pill* there, which names the boot that must end. Notes
are not signed: who can write to the disk can do worse.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

BLOCK = 4096
SLOT = 4 * BLOCK
MOST_SERVERS = 32
_MAILBOX = BLOCK + MOST_SERVERS * SLOT
SIZE = _MAILBOX + 2 * MOST_SERVERS * BLOCK
_MAGIC = b"clusterctl heartbeat disk 1\n"
_COUNT = struct.Struct(">H")
_DIGEST = 32


def header(cluster: str) -> bytes:
    """The first block of a disk that belongs to this cluster."""
    return (_MAGIC + cluster.encode() + b"\n").ljust(BLOCK, b"\0")


def owner_of(block: bytes) -> str | None:
    """The cluster that a first block belongs to; None for anything else."""
    if not block.startswith(_MAGIC):
        return None
    name, end, _ = block[len(_MAGIC) :].partition(b"\n")
    return name.decode("ascii", "replace") if end else None


def slot_offset(number: int) -> int:
    """Where the slot of the server at this place of the list begins. Raises `ValueError`."""
    if not 0 <= number < MOST_SERVERS:
        raise ValueError(f"a heartbeat disk has room for {MOST_SERVERS} servers")
    return BLOCK + number * SLOT


def pack(datagrams: Sequence[bytes]) -> bytes:
    """A whole slot. Raises `ValueError` when they do not fit."""
    parts = [_COUNT.pack(len(datagrams))]
    for datagram in datagrams:
        parts += [_COUNT.pack(len(datagram)), datagram]
    content = b"".join(parts)
    if len(content) > SLOT:
        raise ValueError(f"{len(datagrams)} heartbeats do not fit into a slot")
    return content.ljust(SLOT, b"\0")


def unpack(slot: bytes) -> list[bytes]:
    """The datagrams of a slot; as many as can be made out of a damaged one."""
    (count,) = _COUNT.unpack_from(slot)
    found, at = [], _COUNT.size
    for _ in range(count):
        if at + _COUNT.size > len(slot):
            break
        (length,) = _COUNT.unpack_from(slot, at)
        at += _COUNT.size
        if not length or at + length > len(slot):
            break
        found.append(slot[at : at + length])
        at += length
    return found


def promise_offset(number: int) -> int:
    """Where a server writes its promise."""
    return _MAILBOX + (slot_offset(number) - BLOCK) // SLOT * 2 * BLOCK


def pill_offset(number: int) -> int:
    """Where others write a pill for it."""
    return promise_offset(number) + BLOCK


def write_note(content: Mapping[str, Any]) -> bytes:
    """A whole block. Raises `ValueError` when it does not fit."""
    text = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    block = hashlib.sha256(text).digest() + _COUNT.pack(len(text)) + text
    if len(block) > BLOCK:
        raise ValueError("the note does not fit into a block")
    return block.ljust(BLOCK, b"\0")


def read_note(block: bytes) -> dict[str, Any] | None:
    """The note in a block; None for an empty, torn or foreign one."""
    (length,) = _COUNT.unpack_from(block, _DIGEST)
    text = block[_DIGEST + _COUNT.size :][:length]
    if not length or hashlib.sha256(text).digest() != block[:_DIGEST]:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
