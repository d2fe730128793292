"""The side that follows: applies what the serving side sends, in its order.

Called with one message at a time; every method raises `OSError` when the disk fails, which ends the
session without an acknowledgement.
"""

import hashlib
from dataclasses import replace

from reconciler.mirror.header import KEPT, Header
from reconciler.mirror.side import Disk
from reconciler.mirror.wire import Message, Op, ProtocolError


class Refused(Exception):
    """The session can't be: `floor` is the epoch that this side follows."""

    def __init__(self, reason: str, floor: int) -> None:
        super().__init__(reason)
        self.floor = floor


class Secondary:
    """One session of a serving side at `epoch`. `size` is that side's, as far as it told: this one
    may be larger already."""

    def __init__(self, disk: Disk, epoch: int, server: str, size: int = 0) -> None:
        header = disk.metadata.header
        if epoch < header.floor:
            raise Refused(f"epoch {epoch} is over", header.floor)
        if header.isolated:
            raise Refused("this side is isolated", header.floor)
        self.disk, self.epoch, self.server = disk, epoch, server
        self._size = size
        self.generation = ""
        self.begun = False
        self.to_copy = 0

    def state(self) -> tuple[Header, bytes, bool]:
        """What the serving side compares: header, dirty bitmap, whether the data is all zeros."""
        metadata = self.disk.metadata
        return metadata.header, bytes(metadata.dirty.bytes), self.disk.data.is_blank()

    def apply(self, message: Message) -> bool:
        """True if the message is to be acknowledged."""
        op = message.op
        if op is Op.WRITE or op is Op.COPY:
            self.write(message)
            return True
        if op is Op.FLUSH:
            self.disk.data.flush()
        elif op is Op.BEGIN:
            self._begin(message)
        elif op is Op.END:
            self._end(message)
        elif op is Op.CLEAN:
            self.disk.data.flush()
            self.disk.metadata.save(clean=True, boot="")
        else:
            raise ProtocolError(f"{op.name} is not expected here")
        return True

    def differs(self, message: Message) -> bool:
        """Whether our bytes have another digest than the serving side's (a CHECK)."""
        length = int.from_bytes(message.payload[:8], "little")
        return digest(self.disk.data.view(message.offset, length)) != bytes(message.payload[8:])

    def _begin(self, message: Message) -> None:
        found = message.json()
        header = self.disk.metadata.header
        inconsistent = bool(found["inconsistent"])
        self.generation = str(found["generation"])
        self.to_copy = int(found.get("blocks", 0))
        # Before the first block: whoever looks at this side from now on must know what it is.
        self.disk.metadata.replace(
            replace(
                header,
                floor=self.epoch,
                primary=False,
                clean=False,
                boot=self.disk.boot,
                fresh=False,
                order_kept=bool(found["order_kept"]),
                consistent=header.consistent and not inconsistent,
            )
        )
        self.begun = True

    def write(self, message: Message) -> None:
        """A WRITE or a COPY."""
        header = self.disk.metadata.header
        if not self.begun or header.clean:
            raise ProtocolError("a write before its beginning")
        if message.op is Op.COPY and header.consistent:
            raise ProtocolError("a copy onto a side that counts as consistent")
        if message.offset + len(message.payload) > header.size:
            raise ProtocolError("a write behind the end")
        self.disk.data.write(message.offset, message.payload)

    def _end(self, message: Message) -> None:
        found = message.json()
        metadata = self.disk.metadata
        self.disk.data.flush()
        header = metadata.header
        generation = str(found["generation"])
        history = (header.current, *(h for h in header.history if h != header.current))[:KEPT]
        metadata.replace(
            replace(
                header,
                current=generation,
                pending=(),
                bases=(),
                history=tuple(h for h in history if h != generation),
                consistent=True,
                discard=False,
                as_of=float(found.get("as_of", 0.0)),
            )
        )
        # Our own old differences are gone with the copy; if this is interrupted they are only
        # copied once more.
        if 0 < self._size < header.size:
            metadata.dirty.clear_below(self._size >> metadata.geometry.block_shift)
        else:
            metadata.dirty.clear()
        metadata.settle()


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
