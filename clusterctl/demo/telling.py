"""A program on the lab's client server that tells what it sees, one JSON object in each line: the
first says that it is ready, and it ends with its input. Base of the clients of both demos."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure


class Telling:
    """Runs between `async with` and its end. `program` is a file of ours, then its arguments;
    nothing is waited for longer than `limit_s` unless a call says so."""

    def __init__(self, directory: Path, program: Sequence[str], limit_s: float) -> None:
        python = sys.executable
        command = ("-m", "clusterctl", "lab", "exec", "--dir", str(directory), "client", "--")
        self._argv = [python, *command, python, "-S", *program]
        self._limit_s = limit_s
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._is_ready = False

    async def __aenter__(self) -> Self:
        """Returns when it is ready; raises `Failure` when it is not in time."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            await self.until(lambda: self._is_ready, "nothing answered the client")
        except BaseException:  # Ctrl-C as well: its program must not stay
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def hear(self, event: str, said: dict[str, Any]) -> None:
        """One line of it but the first, without its event."""
        raise NotImplementedError

    async def until(
        self, holds: Callable[[], bool], otherwise: str, limit_s: float | None = None
    ) -> None:
        """Looked at after each line; raises `Failure` when it does not hold in time."""
        seconds = limit_s or self._limit_s
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            text = f"{otherwise} within {seconds:.0f} s"
            raise Failure(text, ExitCode.TIMEOUT) from None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            event = said.pop("event")
            if event == "ready":
                self._is_ready = True
            else:
                self.hear(event, said)
            self._news.set()

    async def _end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), self._limit_s)
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
