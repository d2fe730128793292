"""What a mirror knows of itself on a shared disk that no engine has: read, and left as it is.

Called by `reconciler.disks`, in a process that may hang.
"""

import errno
import mmap
import os
from pathlib import Path

from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Metadata
from reconciler.mirror.pages import SLOT


def look(path: Path | str) -> tuple[Header, int]:
    """The header, and how many bytes the other side may lack. Past this server's caches: another
    server may have written them since. Raises `OSError`, and `MetadataDamaged` when there is no
    mirror on the disk."""
    file = _ReadOnly(_open(path))
    try:
        found = Metadata.open(file)
    finally:
        file.close()
    return found.header, found.dirty.count << found.geometry.block_shift


def _open(path: Path | str) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags)  # this file system cannot


class _ReadOnly:
    """A `BlockFile` that is read by slots."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self._room = mmap.mmap(-1, SLOT)  # aligned, as a disk wants it

    @property
    def size(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        found = os.preadv(self._fd, [memoryview(self._room)[:length]], offset)
        return self._room[:found].ljust(length, b"\0")

    view = read

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:  # noqa: ARG002
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def flush(self) -> None:
        """Nothing was written."""

    def is_blank(self) -> bool:
        return False

    def used(self, offset: int) -> tuple[int, int] | None:
        return (offset, self.size) if offset < self.size else None

    def resize(self, size: int) -> None:  # noqa: ARG002
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def close(self) -> None:
        os.close(self._fd)
