"""The descriptor of this server's hardware watchdog: opened once, kept by the supervisor.

The agent makes one `WatchdogKeeper` and passes its descriptor to the pulse, which feeds the device.
systemd keeps it over a restart of the agent (its file descriptor store), but not over a stop: then
the pulse, which outlives the agent, has it still, and the next agent borrows it there. Closing the
device would feed or disarm it, and a second open is refused.
"""

import os
import socket
import stat
from pathlib import Path

from reconciler.adapters.linux.notify import keep_descriptor

_NAME = "watchdog"
_FIRST_INHERITED = 3
_CONNECT_S = 1.0


class WatchdogKeeper:
    """Holds what was opened until this process ends."""

    def __init__(self) -> None:
        self._descriptor = _inherited()

    def descriptor(self, path: Path) -> int:
        """The open device; opening it arms it. Raises `OSError`, such as EBUSY when another
        process holds it."""
        if self._descriptor is None:
            self._descriptor = _open(path)
            keep_descriptor(_NAME, self._descriptor)
        return self._descriptor

    def adopt(self, descriptor: int) -> None:
        """Go on with what a pulse has held; ours from here on."""
        self.forget()
        self._descriptor = descriptor
        keep_descriptor(_NAME, descriptor)

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    def forget(self) -> None:
        """It does not work any more: the next `descriptor` opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _open(path: Path) -> int:
    if stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_CONNECT_S)
            connection.connect(str(path))
            return connection.detach()
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def _inherited() -> int | None:
    """What the supervisor kept from the agent before us (sd_listen_fds)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if _NAME not in names:
        return None
    descriptor = _FIRST_INHERITED + names.index(_NAME)
    os.set_inheritable(descriptor, False)
    return descriptor
