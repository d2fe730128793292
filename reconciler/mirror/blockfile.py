"""The port to a file of bytes (data or metadata), and its real implementation.

`tests.mirror.recording` brings the twin that forgets what was not flushed.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

_BLKGETSIZE64, _BLKFLSBUF = 0x80081272, 0x1261
_LOOK = 1 << 20
"""Bytes at the begin of a shared disk that are looked at: zeros there are nothing to miss."""

_PAGE = 4096
DIRECT_FROM = 256 << 10
"""Transfers from here on go past the kernel's cache: there they would only be copied once more."""

_LARGEST_VIEW = 1 << 20
_FEW = 4
"""Writes between two flushes up to which the next flush is expected soon."""

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class BlockFile(Protocol):
    """Bytes at offsets. A write is durable only once a later `flush` returned; between two flushes
    writes may become durable in any order, or half. Every call raises `OSError`."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes; zeros where nothing was written."""
        ...

    def view(self, offset: int, length: int) -> "bytes | memoryview":
        """As `read`, but valid only until the next call of anything."""
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
    """A regular file or a block device, without a cache of its own: its bytes from `begin` up to
    `end`, or to its own end."""

    def __init__(self, fd: int, begin: int = 0, end: int | None = None) -> None:
        self._fd, self._begin, self._end = fd, begin, end
        self._device = stat.S_ISBLK(os.fstat(fd).st_mode)
        self._size = self._measure()
        self._direct = -1
        with suppress(OSError):  # not every file system can
            self._direct = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
        self._reading = memoryview(b"")
        self._unflushed = _FEW + 1

    @classmethod
    def open(cls, path: Path | str, size: int) -> Self:
        """Made, and made that large, when it is not."""
        found = cls(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600))
        if found.size < size and not stat.S_ISBLK(os.stat(path).st_mode):
            found.resize(size)
        return found

    @classmethod
    def split(cls, path: Path | str, at: int) -> tuple[Self, Self]:
        """A disk that several servers see, in two: the bytes before `at`, and those from there on.
        It must be there. A device is opened for this process alone, and read anew: another server
        may have written to it since."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            os.close(fd)
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_EXCL)
            fcntl.ioctl(fd, _BLKFLSBUF, 0)
        return cls(fd, 0, at), cls(os.dup(fd), at)

    @property
    def size(self) -> int:
        return self._size

    def _measure(self) -> int:
        if self._device:
            answer = fcntl.ioctl(self._fd, _BLKGETSIZE64, bytes(8))
            whole = int(struct.unpack("Q", answer)[0])
        else:
            whole = os.fstat(self._fd).st_size
        return max(0, (whole if self._end is None else min(whole, self._end)) - self._begin)

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, self._begin + offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), self._begin + offset + len(data))
            data += more or bytes(length - len(data))
        return data

    def view(self, offset: int, length: int) -> bytes | memoryview:
        begin = self._begin + offset
        if not DIRECT_FROM <= length <= _LARGEST_VIEW or (begin | length) % _PAGE:
            return self.read(offset, length)
        if not self._reading:
            self._reading = memoryview(mmap.mmap(-1, _LARGEST_VIEW))
        found = self._reading[:length]
        if self._direct >= 0 and self._directly(os.preadv, [found], begin) == length:
            return found
        return self.read(offset, length)

    def _directly(self, call: Callable[[int, Any, int], int], data: Any, offset: int) -> int:
        """How many bytes; 0 when this file takes no such transfers."""
        try:
            return call(self._direct, data, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.close(self._direct)
            self._direct = -1
            return 0

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        begin, length = self._begin + offset, len(data)
        if length >= DIRECT_FROM and self._direct >= 0 and _is_aligned(begin, data):
            done = self._directly(os.pwrite, data, begin)
        else:
            done = os.pwrite(self._fd, data, begin)
        if done < length:
            with memoryview(data) as view:
                while done < length:
                    done += os.pwrite(self._fd, view[done:], begin + done)
        if self._unflushed < _FEW:
            self._unflushed += 1
            if _sync_file_range is not None:
                # A flush comes soon: it finds the disk at work. It alone makes anything durable.
                _sync_file_range(self._fd, begin, length, _SYNC_FILE_RANGE_WRITE)

    def flush(self) -> None:
        self._unflushed = 0
        os.fdatasync(self._fd)

    def is_blank(self) -> bool:
        if self._end is not None:
            return not self.read(0, min(self._size, _LOOK)).strip(b"\0")
        return self.used(0) is None

    def used(self, offset: int) -> tuple[int, int] | None:
        if offset >= self._size:
            return None
        if self._device:
            return offset, self._size
        try:
            begin = os.lseek(self._fd, self._begin + offset, os.SEEK_DATA)
            end = os.lseek(self._fd, begin, os.SEEK_HOLE)
        except OSError:  # ENXIO: only a hole up to the end
            return None
        return begin - self._begin, end - self._begin

    def resize(self, size: int) -> None:
        if not self._device and self._end is None:
            os.ftruncate(self._fd, self._begin + size)
        self._size = self._measure()
        if self._size < size:
            raise OSError(f"the device has {self._size} bytes, {size} are needed")

    def close(self) -> None:
        os.close(self._fd)
        if self._direct >= 0:
            os.close(self._direct)


def _is_aligned(offset: int, data: bytes | bytearray | memoryview) -> bool:
    """Whether a disk can take it from where it is."""
    if (offset | len(data)) % _PAGE or not isinstance(data, memoryview) or data.readonly:
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(data)) % _PAGE == 0
