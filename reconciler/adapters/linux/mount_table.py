"""The mount table of this server's namespace: read, and watched for changes."""

import asyncio
import os
import re
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.ports.volumes import Mounted

TABLE = "/proc/self/mountinfo"
_DEAD = ("emergency_ro", "shutdown")
"""Words among the options of a file system that gave up after an error."""


@dataclass(frozen=True, slots=True)
class Line:
    number: str
    directory: str
    source: str
    options: tuple[str, ...]  # of the file system, not of this mount


def lines() -> list[Line]:
    """In the order of mounting, as far as the kernel tells. Raises `OSError`."""
    return [_parsed(text) for text in Path(TABLE).read_text().splitlines()]


def at(directory: str) -> str | None:
    """What is mounted there: the last of several on top of each other."""
    wanted = os.path.normpath(directory)
    found = [line.source for line in lines() if line.directory == wanted]
    return found[-1] if found else None


def below(directory: str) -> list[str]:
    """Directories under it that something is mounted on, the last first."""
    inside = os.path.normpath(directory) + "/"
    return [line.directory for line in reversed(lines()) if line.directory.startswith(inside)]


def of(device: str) -> tuple[Mounted, ...]:
    """Where a block device, or a file through a loop device, is mounted; the last first."""
    real = Path(device).resolve()
    found = [line for line in reversed(lines()) if _is_of(line, real)]
    return tuple(Mounted(line.directory, line.source, _is_read_only(line)) for line in found)


def under_way(directory: str) -> bool:
    """Whether some `mount` for the directory has not ended: it may still come."""
    wanted = os.fsencode(os.path.normpath(directory))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].rpartition(b"/")[2] == b"mount" and wanted in words:
                    return True
    return False


class Watch:
    """Tells whoever waits that the table changed. Opened at the first wait."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._table = -1
        self._poll: select.epoll | None = None

    async def changed(self) -> None:
        loop = asyncio.get_running_loop()
        if self._poll is None:
            self._table = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
            self._poll = select.epoll()
            # The kernel tells it as priority data, which event loops do not wait for.
            self._poll.register(self._table, select.EPOLLPRI | select.EPOLLERR)
            loop.add_reader(self._poll.fileno(), self._tell)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _tell(self) -> None:
        if self._poll is not None:
            self._poll.poll(0)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            with suppress(RuntimeError):  # the loop may be closed already
                asyncio.get_running_loop().remove_reader(poll.fileno())
            poll.close()
            os.close(self._table)


def _is_of(line: Line, real: Path) -> bool:
    if not line.source.startswith("/dev/"):
        return False
    if Path(line.source).resolve() == real:
        return True
    with suppress(OSError):
        found = real.stat()
        if stat.S_ISBLK(found.st_mode):
            return line.number == f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        backing = Path(f"/sys/block/{Path(line.source).name}/loop/backing_file")
        return backing.read_text().strip() == str(real)
    return False


def _is_read_only(line: Line) -> bool:
    return line.options[0] == "ro" or any(word in line.options for word in _DEAD)


def _parsed(text: str) -> Line:
    mount, _, system = text.partition(" - ")
    words, (_, source, options) = mount.split(" "), system.split(" ")
    return Line(words[2], _plain(words[4]), _plain(source), tuple(options.split(",")))


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def users(directory: str) -> Iterator[int]:
    """Processes with a working directory, root, program, open or mapped file below it; never our
    own. A file that is mapped needs no descriptor."""
    inside = os.path.normpath(directory) + "/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
            with suppress(OSError):  # it ended meanwhile
                links = [entry / "cwd", entry / "root", entry / "exe", *(entry / "fd").iterdir()]
                if any(f"{_target(link)}/".startswith(inside) for link in links) or (
                    f" {inside}" in (entry / "maps").read_text(errors="replace")
                ):
                    yield int(entry.name)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
