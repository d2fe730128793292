"""A hardware watchdog for each lab server: a unix socket on which it is fed, and that powers the
server off when it is not. The lab's daemon makes one; the server finds it as /run/watchdog.

It speaks what `reconciler.pulse.watchdog` says to a socket: lines `timeout SECONDS`, which arms it,
`feed`, and `stop`. The end of a connection means nothing, as with a device that stays open.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from clusterctl.lab import power

SOCKET = "watchdog"
LATE_S = 0.2
"""What was fed before the time was over may still wait to be read by a busy machine."""

log = logging.getLogger("lab")


class LabWatchdog:
    """`directory`: files of the server. `power_off` presses its button, as its BMC does."""

    def __init__(
        self, directory: Path, server: str, power_off: Callable[[], Awaitable[None]]
    ) -> None:
        self._directory, self._server, self._power_off = directory, server, power_off
        self._timeout, self._deadline, self._boot = 0.0, float("inf"), ""
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Listen; `run` is what bites."""
        # a socket's path may have 107 characters only, the lab's directory may have more
        directory = os.open(self._directory, os.O_PATH | os.O_CLOEXEC)
        try:
            (self._directory / SOCKET).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        finally:
            os.close(directory)
        self._listening = await asyncio.start_unix_server(self._serve, sock=listener)

    async def run(self) -> None:
        """For ever: power the server off when the boot that armed it does not feed it."""
        while True:
            await self._wait()
            if time.monotonic() < self._deadline:
                continue
            await asyncio.sleep(LATE_S)
            if time.monotonic() < self._deadline:
                continue
            self._deadline = float("inf")
            state = power.read(self._directory)
            if state.on and state.boot_id == self._boot:
                log.warning("the watchdog of %s was not fed for %g s", self._server, self._timeout)
                await self._power_off()

    async def _wait(self) -> None:
        self._changed.clear()
        left = self._deadline - time.monotonic()
        if left == float("inf"):
            await self._changed.wait()
        else:
            await asyncio.sleep(max(0.0, left))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._take(line.decode().split())
        except (OSError, ValueError) as error:
            log.warning("the watchdog of %s: %s", self._server, error)
        finally:
            writer.close()

    def _take(self, words: list[str]) -> None:
        now = time.monotonic()
        match words:
            case ["timeout", seconds]:
                armed = self._deadline != float("inf")
                self._timeout = float(seconds)
                self._deadline = self._deadline if armed else now + self._timeout
                self._boot = power.read(self._directory).boot_id
            case ["feed"] if self._deadline != float("inf"):
                self._deadline = now + self._timeout
            case ["stop"]:
                self._deadline = float("inf")
        self._changed.set()
