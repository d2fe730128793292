"""Engines of mirrors: started as processes of their own, asked over their unix sockets
(`ports.mirrors.Mirrors`). They outlive the agent; the next one finds them by their sockets.
"""

import asyncio
import errno
import fcntl
import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reconciler.mirror.header import Header
from reconciler.mirror.settings import Settings
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import Decide, EngineView, MirrorPlan, Question, Stopped

START_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 10.0
"""More than the limit that the other side has."""
LOG_BYTES = 4 << 20
EXIT_TAKEN = 3
"""Of an engine whose metadata another one holds."""

_CODE = Path(__file__).resolve().parents[3]


class LinuxMirrors:
    """Engines live under `<run directory>/mirrors/<name>`. `cluster_key` is the file that all
    servers of the cluster share; each mirror's key is derived from it. `boot` is this power-on,
    `pki` where this server's certificates are."""

    def __init__(
        self, run_directory: Path, cluster_key: Path | None, boot: str, pki: Path | None = None
    ) -> None:
        self._root, self._cluster_key, self._boot = run_directory / "mirrors", cluster_key, boot
        self._pki = pki
        self._children: list[subprocess.Popen[bytes]] = []
        self._starting: dict[str, asyncio.Lock] = {}

    async def ensure(self, plan: MirrorPlan) -> None:
        # The follower and the driver may want it at the same time; one starts it.
        async with self._starting.setdefault(plan.name, asyncio.Lock()):
            await self._ensure(plan)

    async def _ensure(self, plan: MirrorPlan) -> None:
        settings = self.settings(plan)
        directory = self._root / plan.name
        self._write_keys(plan.name)
        file = directory / "settings.json"
        wanted = settings.to_json()
        running, old = await self.view(plan.name), _read(file)
        if running is not None and running.serves:
            return
        if old != wanted:
            if running is not None and not _differ_in_size_only(old, wanted):
                await self._call(plan.name, {"do": "quit"})
                await self._until(plan.name, None)
                running = None
            temporary = file.with_suffix(".new")
            temporary.write_text(wanted)
            temporary.replace(file)
        if running is None:
            await self._until(plan.name, self._spawn(directory, file))

    def settings(self, plan: MirrorPlan) -> Settings:
        """What its engine is told; raises `HostError`."""
        directory = self._root / plan.name
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fields = asdict(plan)
        fields.pop("engine")
        encrypt = fields.pop("encrypt")
        if encrypt and self._pki is None:
            raise HostError("there are no certificates to encrypt the mirror's connection with")
        return Settings(
            resource=fields.pop("name"),
            directory=str(directory),
            boot=self._boot,
            key_file=str(directory / "key"),
            pki=str(self._pki) if encrypt else "",
            **fields,
        )

    def _write_keys(self, name: str) -> None:
        """Every key that is valid now, the newest first; engines read it at each handshake."""
        if self._cluster_key is None:
            raise HostError("there is no cluster key to derive the mirror's key from")
        try:
            keys = json.loads(self._cluster_key.read_text())["keys"]
        except (OSError, ValueError, KeyError) as error:
            raise HostError(f"the cluster key cannot be read: {type(error).__name__}") from None
        lines = [
            hmac.new(str(key).encode(), f"mirror\0{name}".encode(), hashlib.sha256).hexdigest()
            for key in keys
        ]
        path, text = self._root / name / "key", "\n".join(lines) + "\n"
        if _read(path) == text:
            return
        temporary = path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(text)
        temporary.replace(path)

    def _spawn(self, directory: Path, settings: Path) -> "subprocess.Popen[bytes]":
        self._children = [child for child in self._children if child.poll() is None]
        log_path = directory / "engine.log"
        with suppress(FileNotFoundError):
            if log_path.stat().st_size > LOG_BYTES:
                log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("ab") as log:
            self._children.append(
                child := subprocess.Popen(
                    [sys.executable, "-S", "-m", "reconciler.mirror", str(settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd="/",
                    env={"PYTHONPATH": str(_CODE), "PATH": os.environ.get("PATH", os.defpath)},
                    start_new_session=True,
                )
            )
        return child

    async def _until(self, name: str, child: "subprocess.Popen[bytes] | None") -> None:
        """Until the engine answers; without a child, until none does."""
        gone = child is None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while (await self.view(name) is None) is not gone:
                    # A predecessor may hold the metadata for a moment longer: that one answers.
                    if child is not None and child.poll() not in (None, EXIT_TAKEN):
                        raise HostError(f"its engine does not start: {self._last_words(name)}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            how = "does not end" if gone else "does not answer"
            raise HostError(f"its engine {how}: {self._last_words(name)}") from None

    def _last_words(self, name: str) -> str:
        lines = (_read(self._root / name / "engine.log") or "").strip().splitlines()
        return lines[-1][:300] if lines else "it left no message"

    async def view(self, name: str) -> EngineView | None:
        try:
            answer = await self._call(name, {"do": "status"})
        except _Gone:
            return None
        status: dict[str, Any] = answer["status"]
        return EngineView(
            serves=status["role"] == "primary",
            epoch=int(status["epoch"]),
            over=str(status["over"] or status["failure"]),
            suspended=bool(status["suspended"]),
            path=str(self._root / name / "disk"),
            header=Header.from_json(status["header"]),
            boot=str(status["boot"]),
            details=status,
        )

    async def prepare(self, name: str, named: str) -> str:
        return str((await self._call(name, {"do": "prepare", "named": named}))["generation"])

    async def promote(self, name: str, epoch: int, generation: str) -> None:
        await self._call(name, {"do": "promote", "epoch": epoch, "generation": generation})

    async def stop(self, name: str, limit_s: float = 5.0) -> Stopped:
        request = {"do": "stop", "limit": limit_s}
        try:
            found = await self._call(name, request, limit_s + STOP_TIMEOUT_S)
        except _Gone:
            return Stopped(clean=False, handed_over=False)
        return Stopped(bool(found["clean"]), bool(found.get("handed_over", False)))

    async def ask(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._call(name, dict(request))

    async def quit(self, name: str) -> None:
        with suppress(_Gone):
            await self._call(name, {"do": "quit"})
        await self._until(name, None)
        await self._until_let_go(name)

    async def _until_let_go(self, name: str) -> None:
        """Its socket goes first; a process that hangs in its disk may live on, and write."""
        settings = _read(self._root / name / "settings.json")
        if settings is None:
            return
        path = str(json.loads(settings)["metadata"])
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    if not await asyncio.to_thread(_is_locked, path):
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise HostError(f"its engine does not end: {self._last_words(name)}") from None

    async def abort(self, name: str, reason: str) -> None:
        with suppress(_Gone):
            await self._call(name, {"do": "abort", "reason": reason})

    async def attend(self, name: str, decide: Decide) -> None:
        """A question is answered by a task of its own: while one waits for the store, a younger one
        may come, and takes its place."""
        asked: asyncio.Task[None] | None = None
        with suppress(_Gone):
            async with self._line(name) as line:
                try:
                    await line.send({"do": "attend"})
                    while True:
                        found = await line.receive()
                        if "ask" not in found:
                            continue
                        if asked is not None:
                            asked.cancel()
                        asked = asyncio.create_task(_answer(line, found, decide))
                finally:
                    if asked is not None:
                        asked.cancel()
                        await asyncio.wait({asked})

    async def changed(self, name: str) -> None:
        with suppress(_Gone):
            async with self._line(name) as line:
                await line.send({"do": "attend", "only": "changes"})
                while "changed" not in await line.receive():
                    pass

    async def _call(
        self, name: str, request: dict[str, Any], timeout_s: float = CALL_TIMEOUT_S
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s), self._line(name) as line:
                await line.send(request)
                answer = await line.receive()
        except TimeoutError:
            raise HostError(f"the engine of mirror {name} does not answer") from None
        if not answer.get("ok"):
            raise HostError(f"mirror {name}: {answer.get('error', 'no reason was given')}")
        return answer

    @asynccontextmanager
    async def _line(self, name: str) -> "AsyncIterator[_Line]":
        directory = self._root / name
        try:
            handle = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            raise _Gone from None
        try:
            # a socket's path may have 107 characters only, the directory may have more
            path = f"/proc/self/fd/{handle}/control.sock"
            reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
        except OSError:
            raise _Gone from None
        finally:
            os.close(handle)
        try:
            yield _Line(reader, writer)
        finally:
            writer.close()


class _Gone(HostError):
    """No engine listens there."""

    def __init__(self) -> None:
        super().__init__("its engine does not run")


class _Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, request: dict[str, Any]) -> None:
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
        except OSError:
            raise _Gone from None

    async def receive(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
            found: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            raise _Gone from None
        return found


async def _answer(line: _Line, found: dict[str, Any], decide: Decide) -> None:
    question = Question(str(found["ask"]), str(found["generation"]), int(found["epoch"]))
    refusal = await decide(question)
    with suppress(_Gone):
        await line.send({"do": "answer", "number": found["number"], "refusal": refusal})


def _differ_in_size_only(old: str | None, new: str) -> bool:
    """Of two settings: an engine grows when it is asked to, while it runs."""
    try:
        before = json.loads(old or "{}")
    except ValueError:
        return False
    return bool({**before, "size": 0} == {**json.loads(new), "size": 0})


def _is_locked(path: str) -> bool:
    """Whether an engine has this metadata: it holds a lock on it as long as it lives. When none
    has, what a killed one left in this server's cache is written out first: of a shared disk it
    must not come after what the next server writes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return False
        raise HostError(f"{path} cannot be looked at: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.fsync(fd)
    except BlockingIOError:
        return True
    except OSError as error:  # what could not be written is dropped
        sys.stderr.write(f"{path} cannot be flushed: {error}\n")
    finally:
        os.close(fd)
    return False


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None
