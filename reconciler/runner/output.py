"""What a workload writes, kept in a file of bounded size with one older file beside it."""

import os

CHUNK = 65536


class OutputLog:
    """At most about twice `limit_bytes` on disk. A full disk loses output, never the workload."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        self._path = path
        self._limit = limit_bytes
        self._file = self._open()
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        try:
            if self._size and self._size + len(data) > self._limit:
                self._rotate()
            self._size += os.write(self._file, data)
        except OSError:
            return

    def close(self) -> None:
        os.close(self._file)

    def _rotate(self) -> None:
        os.replace(self._path, self._path + ".1")
        os.close(self._file)
        self._file = self._open()
        self._size = 0

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
