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
LEASHED = 5
"""Words among which a program's own name is, also behind what `command` puts in front of it."""

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
                programs = [word.rpartition(b"/")[2] for word in words[:LEASHED]]
                if b"mount" in programs and wanted in words:
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


def inside(pid: int, device: str) -> list[str]:
    """Where a block device is mounted in the mount namespace of a process, the last first; empty
    when the process is gone."""
    try:
        number = Path(device).stat().st_rdev
        table = Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return []
    wanted = f"{os.major(number)}:{os.minor(number)}"
    found = [_parsed(text) for text in table.splitlines()]
    return [line.directory for line in reversed(found) if line.number == wanted]


def users(directory: str, of: str = "self") -> Iterator[int]:
    """Processes with a working directory, root, program, open or mapped file below it, as the
    process `of` names it; never our own. A file that is mapped needs no descriptor. A process of
    another mount namespace (a container) may have another disk under that name: then what it uses
    is looked at, too."""
    below = os.path.normpath(directory) + "/"
    space = _space(of)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
            with suppress(OSError):
                links = [entry / "cwd", entry / "root", entry / "exe", *(entry / "fd").iterdir()]
                found = [link for link in links if f"{_target(link)}/".startswith(below)]
                mapped = _mapped(entry, below)
                if not found and not mapped:
                    continue
                if _space(entry.name) != space:
                    number = Path(f"/proc/{of}/root{directory}").stat().st_dev
                    ours = f"{os.major(number):02x}:{os.minor(number):02x}"
                    if ours not in mapped and not any(_is_on(link, number) for link in found):
                        continue
                yield int(entry.name)


def _mapped(entry: Path, below: str) -> set[str]:
    """Devices of files below a directory that a process has mapped, such as "08:10"."""
    lines = (entry / "maps").read_text(errors="replace").splitlines()
    return {line.split()[3] for line in lines if f" {below}" in line}


def _space(pid: str) -> int:
    return Path(f"/proc/{pid}/ns/mnt").stat().st_ino


def _is_on(link: Path, number: int) -> bool:
    try:
        return link.stat().st_dev == number
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
