"""Makes probes in a process of their own (`reconciler.probe`), one for each agent, started at the
first probe. A process that does not answer in time is killed, and the next probe starts a new one.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.probe.command import CGROUP_PREFIX
from reconciler.runner import cgroup

ANSWER_MARGIN_S = 10.0
"""Beyond the probe's own time: to kill what a command started, and to be slow."""

LINE_LIMIT = 256 * 1024
_CONTROL = 3
_CODE = Path(__file__).resolve().parents[3]


class LinuxProbes:
    """`ports.probes.Probes`. `close` when the agent ends: it takes running probes along."""

    def __init__(self) -> None:
        self._process: _Process | None = None
        self._numbers = itertools.count(1)

    async def run(self, name: str, settings: Mapping[str, Any], timeout_s: float) -> Sample:
        process = await self._running()
        request = {
            "id": next(self._numbers),
            "probe": name,
            "settings": dict(settings),
            "timeout": timeout_s,
        }
        try:
            async with asyncio.timeout(timeout_s + ANSWER_MARGIN_S):
                return await process.ask(request)
        except TimeoutError:
            process.kill()
            raise ProbeUnavailable(
                "the process that makes the probes hung and was killed"
            ) from None

    async def _running(self) -> "_Process":
        if self._process is None or self._process.is_gone:
            self.close()
            _clear_away()
            self._process = await _Process.start()
        return self._process

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


class _Process:
    """One probe process and the questions that it has not answered."""

    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._pid: int | None = pid
        self._writer = writer
        self._asked: dict[int, asyncio.Future[Sample]] = {}
        self._reading = asyncio.create_task(self._read(reader), name="answers of probes")

    @classmethod
    async def start(cls) -> "_Process":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = _spawn(theirs.fileno())
            except OSError as error:
                ours.close()
                raise ProbeUnavailable(f"can't start probes: {error.strerror}") from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
        return cls(pid, reader, writer)

    @property
    def is_gone(self) -> bool:
        return self._reading.done()

    async def ask(self, request: Mapping[str, Any]) -> Sample:
        answer: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        self._asked[request["id"]] = answer
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            return await answer
        finally:
            self._asked.pop(request["id"], None)
            if not answer.done() or answer.cancelled():
                # Nobody waits for it any more: what it started ends now, not at its time-out.
                self._writer.write(json.dumps({"cancel": request["id"]}).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                said = json.loads(line)
                waiting = self._asked.get(said["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(
                        Sample(said["healthy"], said["reason"], said["output"], said.get("code"))
                    )
        except (OSError, ValueError, KeyError):
            pass  # it speaks nonsense: as good as gone
        finally:
            self._end()

    def _end(self) -> None:
        self._writer.close()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(ProbeUnavailable("the process that makes the probes ended"))
        pid, self._pid = self._pid, None
        if pid is not None:
            # Its connection is closed, so it ends by itself; a hung one does not.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _unreaped.add(pid)

    def kill(self) -> None:
        """Everything that it started dies too: each command's holder notices."""
        self._reading.cancel()
        self._end()


_unreaped: set[int] = set()


def _spawn(control: int) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-m", "reconciler.probe"],
        {"PYTHONPATH": str(_CODE), "PATH": os.defpath},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, control, _CONTROL),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def _clear_away() -> None:
    """What former probe processes left: zombies, and commands if any still run."""
    for pid in tuple(_unreaped):
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _unreaped.discard(pid)
    parent = cgroup.own_directory()
    if parent is None:
        return
    for place in Path(parent).glob(f"{CGROUP_PREFIX}*"):
        cgroup.kill(str(place))
        cgroup.remove(str(place))
