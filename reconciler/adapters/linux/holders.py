"""Holders of workloads from the agent's side: where new ones come from, and how to talk to one.

Used by `runners`, which decides what they do.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconciler.ports.host import HostError
from reconciler.runner.record import Process, identify

DEATH_TIMEOUT_S = 5.0
_CONTROL = 3
_CODE = Path(__file__).resolve().parents[3]


class Gone(HostError):
    """The holder closed the connection."""


class Line:
    """JSON objects, one a line, over a stream socket. `holder` is who answers, once it said so."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self.holder: Process | None = None
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send_now(self, message: dict[str, Any]) -> None:
        """A short message, without giving way to anything else."""
        try:
            self._socket.send(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise Gone("the runner is gone") from error

    async def send(self, message: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise Gone("the runner is gone") from error

    async def receive(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        while b"\n" not in self._received:
            try:
                data = await loop.sock_recv(self._socket, 65536)
            except OSError as error:
                raise Gone("the runner is gone") from error
            if not data:
                raise Gone("the runner is gone")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        message = json.loads(line)
        return message if isinstance(message, dict) else {}

    async def hand_over(self, job: dict[str, Any]) -> None:
        """Give a new holder its job; it is ready to go then. Closes the line when it is not."""
        try:
            await self.send({"job": job})
            ready = checked(await self.receive())
            self.holder = Process(int(ready["pid"]), int(ready["start"]))
        except BaseException:  # cancelled as well: its holder must end
            self.close()
            raise

    async def kill_holder(self) -> None:
        """Returns when it is dead."""
        if self.holder is not None and kill(self.holder):
            await dead(self.holder.pid)


class Nursery:
    """The process that forks holders for this agent: started when first needed, and again whenever
    it is gone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._control: socket.socket | None = None
        self._pid: int | None = None
        self._ended: set[int] = set()  # our children that are to be waited for
        self.generation = 0  # counts the processes

    def start(self) -> None:
        """Have it running. Raises `HostError`."""
        if self._control is None:
            self._spawn()

    def holder(self) -> Line:
        """A new holder in its own session; it waits for a job and ends when we go before that."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._ask_for_holder(theirs)
            except BaseException:  # whoever gave up, nobody else has this end
                ours.close()
                raise
        return Line(ours)

    def replace(self, generation: int) -> None:
        """This one is gone or hangs; nothing happens if it was replaced already."""
        if generation == self.generation:
            self.close()

    def close(self) -> None:
        """Let it end; it has nothing to clean up, and may hang."""
        control, self._control = self._control, None
        pid, self._pid = self._pid, None
        if control is not None:
            control.close()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)  # our child, not waited for yet
            self._ended.add(pid)
        self._reap()

    def _reap(self) -> None:
        for pid in tuple(self._ended):
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                self._ended.discard(pid)

    def _ask_for_holder(self, theirs: socket.socket) -> None:
        self.start()
        for last in (False, True):
            if self._control is None:
                raise HostError("a runner is being started and closed at the same time")
            try:
                socket.send_fds(self._control, [b"h"], [theirs.fileno()])
            except OSError as error:
                self.close()
                if last:
                    raise HostError(f"can't start a runner: {error.strerror}") from error
                self._spawn()
            else:
                return

    def _spawn(self) -> None:
        self._reap()
        self.generation += 1
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours, theirs = socket.socketpair()
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), _CONTROL),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(self._root / "errors.log"), log, 0o600),
        ]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-S", "-m", "reconciler.runner"],
                {"PYTHONPATH": str(_CODE), "PATH": os.defpath},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            ours.close()
            raise HostError(f"can't start a runner: {error.strerror}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._control = ours


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, unless it is a refusal: that raises `HostError`."""
    if "error" in answer:
        raise HostError(str(answer["error"]))
    return answer


def kill(process: Process) -> bool:
    """SIGKILL to exactly this process; False when it is gone already."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # Looked at after the descriptor was opened: the number cannot be another's meanwhile.
        if identify(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


async def dead(pid: int) -> None:
    """Returns when the process is dead, or after `DEATH_TIMEOUT_S`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, settle, ended)
    try:
        await asyncio.wait([ended], timeout=DEATH_TIMEOUT_S)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def settle(waiter: asyncio.Future[None]) -> None:
    """Set a result that may be there already."""
    if not waiter.done():
        waiter.set_result(None)
