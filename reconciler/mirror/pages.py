"""Small pages in a file, each replaced as a whole or not at all, whatever a power loss tears.

Each page has two slots of 4 KiB. A write goes to the slot that does not hold the page's last
durable version, so that one good version is always there. Used by `metadata`.
"""

import hashlib
import struct
from collections.abc import Mapping

from reconciler.mirror.blockfile import BlockFile

SLOT = 4096
_HEAD = struct.Struct("<4sIQ16s")
PAYLOAD = SLOT - _HEAD.size
_MAGIC = b"CMP1"


class PageFile:
    """Pages by index. `write` is durable after `flush`; several writes before one flush are not
    atomic with each other."""

    def __init__(self, file: BlockFile) -> None:
        self._file = file
        self._newest: dict[int, tuple[int, int]] = {}  # page: (sequence, slot)
        self._volatile: set[int] = set()

    def read(self, index: int) -> bytes | None:
        """The newest good version; None when there is none."""
        best: tuple[int, int, bytes] | None = None
        for slot in (0, 1):
            found = _decode(self._file.read(_place(index, slot), SLOT), index)
            if found is not None and (best is None or found[0] > best[0]):
                best = (found[0], slot, found[1])
        if best is None:
            return None
        self._newest[index] = best[:2]
        return best[2]

    def write(self, pages: Mapping[int, bytes]) -> None:
        for index, payload in sorted(pages.items()):
            sequence, slot = self._newest.get(index, (0, 1))
            if index not in self._volatile:
                slot = 1 - slot
            # A page that was not flushed yet is written over: the other slot is the durable one.
            self._newest[index] = (sequence + 1, slot)
            self._volatile.add(index)
            self._file.write(_place(index, slot), _encode(index, sequence + 1, payload))

    def flush(self) -> None:
        self._file.flush()
        self._volatile.clear()


def _place(index: int, slot: int) -> int:
    return (2 * index + slot) * SLOT


def _encode(index: int, sequence: int, payload: bytes) -> bytes:
    body = payload.ljust(PAYLOAD, b"\0")
    return _HEAD.pack(_MAGIC, index, sequence, _digest(index, sequence, body)) + body


def _decode(slot: bytes, index: int) -> tuple[int, bytes] | None:
    magic, found, sequence, digest = _HEAD.unpack_from(slot)
    body = slot[_HEAD.size :]
    if (magic, found) != (_MAGIC, index) or digest != _digest(index, sequence, body):
        return None
    return sequence, body


def _digest(index: int, sequence: int, body: bytes) -> bytes:
    return hashlib.blake2b(struct.pack("<IQ", index, sequence) + body, digest_size=16).digest()
