"""What waits for the network: in memory, and beyond a limit in a file, in order."""

import os
from collections import deque

_PIECE = 1 << 20


class Outbox:
    """`path`: the history file (asynchronous mirrors); None keeps all in memory. `size` is the
    number of bytes that wait."""

    def __init__(self, path: str | None = None, memory_limit: int = 16 << 20) -> None:
        self._parts: deque[bytes] = deque()
        self._in_memory = self.size = 0
        self._limit = memory_limit
        self._begin = self._end = 0
        self._fd = -1
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def append(self, data: bytes) -> None:
        """Raises `OSError` when the history cannot be written (a full disk)."""
        self.size += len(data)
        if self._fd >= 0 and (self._end > self._begin or self._in_memory > self._limit):
            view = memoryview(data)
            while view:
                done = os.pwrite(self._fd, view, self._end)
                self._end += done
                view = view[done:]
            return
        self._parts.append(data)
        self._in_memory += len(data)

    def first(self) -> bytes:
        """The next bytes to send; not empty while `size` > 0. Raises `OSError` when the history
        cannot be read."""
        if not self._parts:
            self._refill()
        return self._parts[0]

    def _refill(self) -> None:
        data = os.pread(self._fd, min(_PIECE, self._end - self._begin), self._begin)
        if not data:
            raise OSError("the history has become shorter")
        self._begin += len(data)
        if self._begin == self._end:
            os.ftruncate(self._fd, 0)
            self._begin = self._end = 0
        self._parts.append(data)
        self._in_memory += len(data)

    def consume(self, count: int) -> None:
        """So many of the first bytes were sent."""
        part = self._parts.popleft()
        if count < len(part):
            self._parts.appendleft(part[count:])
        self._in_memory -= count
        self.size -= count

    def clear(self) -> None:
        """Forget all; the file goes with it."""
        self._parts.clear()
        self._in_memory = self.size = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
