"""The port to a file of bytes (data or metadata), and its real implementation.

`tests.mirror.recording` brings the twin that forgets what was not flushed.
"""

import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Protocol

_BLKGETSIZE64 = 0x80081272


class BlockFile(Protocol):
    """Bytes at offsets. A write is durable only once a later `flush` returned; between two flushes
    writes may become durable in any order, or half. Every call raises `OSError`."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; zeros where nothing was written."""
        ...

    def write(self, offset: int, data: "bytes | bytearray | memoryview") -> None:
        """All of `data`, or an `OSError`."""
        ...

    def flush(self) -> None:
        """Returns when all earlier writes are durable."""
        ...

    def is_blank(self) -> bool:
        """Whether it surely holds zeros only; False when that can't be told cheaply."""
        ...

    def used(self, offset: int) -> tuple[int, int] | None:
        """The next range (begin, end) at or after `offset` that may hold something else than
        zeros; None when there is none."""
        ...

    def resize(self, size: int) -> None: ...


class OsBlockFile:
    """A regular file or a block device, without a cache of its own. `size`: make it that large."""

    def __init__(self, path: Path | str, size: int | None = None) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC
        self._fd = os.open(path, flags | (os.O_CREAT if size is not None else 0), 0o600)
        self._device = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        if size is not None and not self._device and os.fstat(self._fd).st_size < size:
            os.ftruncate(self._fd, size)
        self._size = self._measure()

    @property
    def size(self) -> int:
        return self._size

    def _measure(self) -> int:
        if not self._device:
            return os.fstat(self._fd).st_size
        answer = fcntl.ioctl(self._fd, _BLKGETSIZE64, bytes(8))
        return int(struct.unpack("Q", answer)[0])

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            data += more or bytes(length - len(data))
        return data

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        done = os.pwrite(self._fd, data, offset)
        if done < len(data):
            with memoryview(data) as view:
                while done < len(data):
                    done += os.pwrite(self._fd, view[done:], offset + done)

    def flush(self) -> None:
        os.fdatasync(self._fd)

    def is_blank(self) -> bool:
        return self.used(0) is None

    def used(self, offset: int) -> tuple[int, int] | None:
        if offset >= self._size:
            return None
        if self._device:
            return offset, self._size
        try:
            begin = os.lseek(self._fd, offset, os.SEEK_DATA)
            return begin, os.lseek(self._fd, begin, os.SEEK_HOLE)
        except OSError:  # ENXIO: only a hole up to the end
            return None

    def resize(self, size: int) -> None:
        if not self._device:
            os.ftruncate(self._fd, size)
        self._size = self._measure()
        if self._size < size:
            raise OSError(f"the device has {self._size} bytes, {size} are needed")

    def close(self) -> None:
        os.close(self._fd)
