"""A serial line between two lab servers, for heartbeats beside the networks: two pseudo terminals,
joined by the lab's daemon. The servers find their ends as /srv/serial-n1 and /srv/serial-n2.

Whatever nobody reads is lost, as on a real line. The networks may be cut as they like: only the
power of a server, or the end of the daemon, silences it.
"""

import asyncio
import contextlib
import os
import tty
from pathlib import Path

_READ = 65536


def link_name(server: str) -> str:
    """The end of this server, in the directory that is /srv on every server."""
    return f"serial-{server}"


class SerialLine:
    """`shared`: that directory out here. The line is open until the daemon ends."""

    def __init__(self, shared: Path, servers: tuple[str, str]) -> None:
        self._shared, self._servers = shared, servers
        self._open: list[int] = []

    def join(self) -> None:
        """Make both ends, and pass on what comes from now on. Raises `OSError`."""
        ends = [self._end(server) for server in self._servers]
        loop = asyncio.get_running_loop()
        for here, there in ((ends[0], ends[1]), (ends[1], ends[0])):
            loop.add_reader(here, _pass_on, here, there)

    def _end(self, server: str) -> int:
        """The daemon's side of one end. The other side stays open here as well: a terminal that
        nobody holds open would hang up."""
        ours, theirs = os.openpty()
        self._open += [ours, theirs]
        tty.setraw(theirs)  # no echo before a pulse has opened it
        os.set_blocking(ours, False)
        link = self._shared / link_name(server)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(theirs))
        return ours

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open:
            descriptor = self._open.pop()
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _pass_on(here: int, there: int) -> None:
    with contextlib.suppress(OSError):  # full, because nobody reads there: lost
        os.write(there, os.read(here, _READ))
