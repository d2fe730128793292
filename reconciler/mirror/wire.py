"""Messages between the two sides: 24 bytes in front, then the payload. One ordered stream.

From the serving side: HELLO, PROVE, BEGIN, WRITE, COPY, FLUSH, END, CHECK, CLEAN, PING.
PACKED_WRITE and PACKED_COPY have a compressed payload; only who said so in its STATE gets them.
From the other side: CHALLENGE, STATE, REFUSED, ACK (everything up to `seq`), DIFFERS, PING.
"""

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

HEAD = struct.Struct("<BxxxIQQ")
LIMIT = 8 << 20
"""Bytes that one payload may have; a longer one is no message of ours."""

VERSION = 1


class Op(IntEnum):
    HELLO = 1
    CHALLENGE = 2
    PROVE = 3
    STATE = 4
    BEGIN = 5
    WRITE = 6
    COPY = 7
    FLUSH = 8
    END = 9
    CHECK = 10
    CLEAN = 11
    ACK = 12
    REFUSED = 13
    DIFFERS = 14
    PING = 15
    PACKED_WRITE = 16
    PACKED_COPY = 17


class ProtocolError(Exception):
    """The other side sent what no peer of ours sends."""


class Link(Protocol):
    """The stream to the other side. `send` never blocks and never raises: a stream that broke is
    told to its owner later. The payload is taken over before `send` returns."""

    @property
    def backlog(self) -> int:
        """Bytes that were sent here and not taken by the network yet."""
        ...

    def send(
        self, op: Op, payload: "bytes | memoryview" = b"", offset: int = 0, seq: int = 0
    ) -> None: ...

    def push(self) -> None:
        """Give what was sent here to the network now, not at the end of the turn."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Message:
    """`payload` is valid until the next message is asked for."""

    op: Op
    payload: memoryview
    offset: int
    seq: int

    def json(self) -> dict[str, Any]:
        """Raises `ProtocolError`."""
        try:
            found = json.loads(bytes(self.payload))
        except ValueError as error:
            raise ProtocolError(f"not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ProtocolError("not an object")
        return found


def pack(op: Op, length: int, offset: int = 0, seq: int = 0) -> bytes:
    return HEAD.pack(op, length, offset, seq)


def to_json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


_PACKED = {Op.WRITE: Op.PACKED_WRITE, Op.COPY: Op.PACKED_COPY}
_UNPACKED = {packed: plain for plain, packed in _PACKED.items()}
_PACK_FROM = 1024
_ENOUGH = 0.9
"""Of its length: what does not become smaller than that is sent as it is."""


def compressed(op: Op, payload: bytes | memoryview) -> tuple[Op, bytes | memoryview]:
    """Of a WRITE or COPY, where it is worth it."""
    if len(payload) < _PACK_FROM:
        return op, payload
    smaller = zlib.compress(payload, 1)
    return (_PACKED[op], smaller) if len(smaller) < _ENOUGH * len(payload) else (op, payload)


def decompressed(message: Message) -> Message:
    """Raises `ProtocolError`."""
    stream = zlib.decompressobj()
    try:
        payload = stream.decompress(message.payload, LIMIT)
    except zlib.error as error:
        raise ProtocolError(f"not compressed data: {error}") from None
    if not stream.eof:
        raise ProtocolError("compressed data that is cut off, or too long")
    return Message(_UNPACKED[message.op], memoryview(payload), message.offset, message.seq)


_OPS = {int(op): op for op in Op}
_LARGE = 64 << 10
"""A longer payload is received where a page begins, so that it can go to a disk as it is."""


class Inbox:
    """Cuts received bytes into messages. Fill `room()`, tell `filled`, then take `messages()`."""

    def __init__(self) -> None:
        self._buffer = bytearray(4 * _LARGE)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        self._large = memoryview(b"")
        self._have = self._need = 0  # bytes of a large payload
        self._head = (0, 0, 0, 0)

    def room(self) -> memoryview:
        """Not empty."""
        if self._need:
            return self._large[self._have : self._need]
        if self._begin == self._end:
            self._begin = self._end = 0
        elif len(self._buffer) - self._end < 2 * _LARGE:
            kept = bytes(self._view[self._begin : self._end])
            self._buffer[: len(kept)] = kept
            self._begin, self._end = 0, len(kept)
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        if self._need:
            self._have += count
        else:
            self._end += count

    def messages(self) -> Iterator[Message]:
        """Every whole message; raises `ProtocolError`."""
        while True:
            if self._need:
                if self._have < self._need:
                    return
                op, length, offset, seq = self._head
                self._need = 0
                yield Message(_OPS[op], self._large[:length], offset, seq)
                continue
            begin = self._begin + HEAD.size
            if begin > self._end:
                return
            op, length, offset, seq = HEAD.unpack_from(self._buffer, self._begin)
            if length > LIMIT or op not in _OPS:
                raise ProtocolError(f"op {op} with {length} bytes")
            if length > _LARGE:
                self._begin = begin
                self._head = op, length, offset, seq
                self._begin_large(length)
            elif begin + length > self._end:
                return
            else:
                self._begin = begin + length
                yield Message(_OPS[op], self._view[begin : begin + length], offset, seq)

    def _begin_large(self, length: int) -> None:
        """What is here already is moved, the rest is received behind it."""
        if len(self._large) < length:
            self._large = memoryview(mmap.mmap(-1, max(length, 1 << 20)))
        here = min(length, self._end - self._begin)
        self._large[:here] = self._view[self._begin : self._begin + here]
        self._begin += here
        self._have, self._need = here, length
