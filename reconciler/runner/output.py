"""What a workload writes, kept in a file of bounded size with some older files beside it."""

import os
from contextlib import suppress

CHUNK = 65536


class OutputLog:
    """`path`, and `older` files of the same size: `path.1` is the last one. A full disk loses
    output, never the workload."""

    def __init__(self, path: str, limit_bytes: int, older: int = 1) -> None:
        self._path = path
        self._limit = limit_bytes
        self._older = older
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
        for number in range(self._older, 0, -1):
            former = f"{self._path}.{number - 1}" if number > 1 else self._path
            with suppress(FileNotFoundError):
                os.replace(former, f"{self._path}.{number}")
        os.close(self._file)
        self._file = self._open()
        self._size = 0

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
