"""One regular file served over raw /dev/fuse: the kernel's end of a mirror. Needs root.

A loop device with direct-io in front of the file turns its requests into ours. Called by `engine`.
"""

import ctypes
import errno
import mmap
import os
import struct
from contextlib import suppress
from typing import Protocol

MAX_WRITE = 1 << 20
_BURST = 16
_MNT_DETACH = 2
_IN_BYTES = 40
_HEAD_BYTES = 80
"""The kernel's header and the arguments of a write (or a read): the data comes behind them."""

_IN = struct.Struct("<4xIQ32xQI")  # op, token, offset, length; the last two of a read or write only
_OUT = struct.Struct("<IiQ")
_WRITTEN = struct.Struct("<IiQII")

_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 1, 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _DESTROY, _BATCH_FORGET, _INTERRUPT = 18, 20, 25, 26, 38, 42, 36
_FEATURES = 1 | 1 << 5 | 1 << 15 | 1 << 22  # async read, big writes, async direct I/O, max pages
_BACKGROUND = 64


class Requests(Protocol):
    """Who answers; each `token` is given back to `FuseFile.reply` or `reply_data` once."""

    def read(self, token: int, offset: int, length: int) -> None: ...

    def write(self, token: int, offset: int, data: memoryview) -> None: ...

    def flush(self, token: int) -> None: ...


class FuseFile:
    """Mounted on `path`, a regular file, from the constructor on. Raises `OSError`."""

    def __init__(self, path: str, size: int, requests: Requests) -> None:
        self.path, self._size, self._requests = path, size, requests
        self._head = bytearray(_HEAD_BYTES)
        # Anonymous memory begins at a page, so that the data can go to a disk as it is.
        self._data = memoryview(mmap.mmap(-1, MAX_WRITE + 4096))
        self._buffers = (self._head, self._data)
        self._lengths: dict[int, int] = {}  # writes that wait for their reply
        self.is_open = True
        unmount(path)
        with open(path, "ab"):
            pass
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        options = (
            f"fd={self.fd},rootmode=100000,user_id=0,group_id=0,"
            f"default_permissions,max_read={MAX_WRITE}"
        )
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"mirror", path.encode(), b"fuse", 6, options.encode()):
            number = ctypes.get_errno()
            os.close(self.fd)
            raise OSError(number, os.strerror(number), path)

    def close(self) -> None:
        """What still uses the file gets errors."""
        if self.is_open:
            self.is_open = False
            unmount(self.path)
            os.close(self.fd)

    def resize(self, size: int) -> None:
        self._size = size

    def serve(self) -> None:
        """Take the requests that are there, at most a burst."""
        for _ in range(_BURST):
            if not self.is_open:
                return
            try:
                os.readv(self.fd, self._buffers)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue  # the request was interrupted before we read it
                self.close()  # ENODEV: unmounted
                return
            op, token, offset, length = _IN.unpack_from(self._head)
            if op == _WRITE:
                if offset + length > self._size:
                    self._answer(token, error=errno.ENOSPC)
                else:
                    self._lengths[token] = length
                    self._requests.write(token, offset, self._data[:length])
            elif op == _READ:
                self._requests.read(token, offset, max(0, min(length, self._size - offset)))
            elif op == _FSYNC:
                self._requests.flush(token)
            else:
                self._other(op, token)

    def _other(self, op: int, token: int) -> None:
        if op in (_GETATTR, _SETATTR):
            self._answer(token, self._attributes())
        elif op == _OPEN:
            self._answer(token, struct.pack("<QII", 1, 1, 0))  # direct I/O: no cache of the kernel
        elif op == _INIT:
            *_, flags = struct.unpack_from("<IIII", self._head, _IN_BYTES)
            answer = (7, 31, MAX_WRITE, _FEATURES & flags, _BACKGROUND, 48, MAX_WRITE, 1, 256, 0, 0)
            self._answer(token, struct.pack("<IIIIHHIIHHI28x", *answer))
        elif op in (_RELEASE, _FLUSH):
            self._answer(token)
        elif op == _STATFS:
            total = self._size // 4096
            self._answer(token, struct.pack("<QQQQQIIII24x", total, 0, 0, 1, 0, 4096, 255, 4096, 0))
        elif op == _DESTROY:
            self._answer(token)
            self.close()
        elif op not in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            self._answer(token, error=errno.ENOSYS)

    def _attributes(self) -> bytes:
        size = self._size
        # Not to be cached: a mirror can grow.
        attributes = (0, 0, 0, 1, size, size // 512, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0)
        return struct.pack("<QIIQQQQQQIIIIIIIIII", *attributes, 4096, 0)

    def reply(self, token: int, error: int = 0) -> None:
        """Of a write or a flush."""
        length = self._lengths.pop(token, None)
        if error or length is None or not self.is_open:
            self._answer(token, error=error)
            return
        with suppress(OSError):  # as in `_answer`
            os.write(self.fd, _WRITTEN.pack(_WRITTEN.size, 0, token, length, 0))

    def reply_data(self, token: int, data: bytes | memoryview) -> None:
        self._answer(token, data)

    def _answer(self, token: int, data: bytes | memoryview = b"", error: int = 0) -> None:
        if not self.is_open:
            return
        head = _OUT.pack(_OUT.size + len(data), -error, token)
        # ENOENT: nobody waits for it any more. ENODEV: unmounted.
        with suppress(OSError):
            os.writev(self.fd, (head, data))


def unmount(path: str) -> None:
    """Detach whatever FUSE file is mounted there, such as a dead engine's; fine when none is."""
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.umount2(path.encode(), _MNT_DETACH) == 0:
        pass
