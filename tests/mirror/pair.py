"""Two real engines on this machine, and a stand-in for the agents beside them.

Used by `test_engine` and by the benchmark. Needs root, /dev/fuse and loop devices.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.adapters.linux import loop_device
from reconciler.mirror.decide import promotion
from reconciler.mirror.header import Header
from reconciler.mirror.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0


def usable() -> str | None:
    """Why mirrors can't be tried here; None when they can."""
    if os.geteuid() != 0:
        return "needs root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.access(path, os.R_OK | os.W_OK):
            return f"no {path}"
    if shutil.which("losetup") is None or shutil.which("mkfs.ext4") is None:
        return "no losetup or mkfs.ext4"
    return None


class Line:
    """A connection to an engine's control socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(DEADLINE_S)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def wait_for_ever(self) -> None:
        self._socket.settimeout(None)

    def send(self, **request: Any) -> None:
        self._socket.sendall(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ConnectionError("the engine is gone")
        found: dict[str, Any] = json.loads(line)
        return found

    def call(self, **request: Any) -> dict[str, Any]:
        self.send(**request)
        return self.read()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()


@dataclass
class Cluster:
    """The record, the owner, and whether the store answers."""

    record: promotion.Current | None = None
    owner: str = ""
    epoch: int = 0
    available: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self, server: str, peer: str, question: dict[str, Any], lives: Callable[[], bool]
    ) -> str | None:
        """None grants, else why not. Waits while the store is away; an agent dies with its
        server."""
        while not self.available:
            time.sleep(0.01)
            if not lives():
                return "nobody asks any more"
        with self.lock:
            self.asked.append((server, question["ask"]))
            if (self.owner, self.epoch) != (server, question["epoch"]):
                return f"{self.owner} owns the group at epoch {self.epoch}"
            if question["ask"] == "alone":
                new = promotion.alone(self.record, server, self.epoch, question["generation"])
            else:
                generation = question["generation"]
                new = promotion.both(self.record, server, peer, self.epoch, generation)
            if new is None:
                return "the record says otherwise"
            self.record = new
            return None


class Side:
    """One engine, its agent's line, and where its file is mounted."""

    def __init__(self, settings: Settings, cluster: Cluster, prefix: Sequence[str] = ()) -> None:
        self.settings, self.cluster, self._prefix = settings, cluster, list(prefix)
        self.name = settings.server
        self.process: subprocess.Popen[bytes] | None = None
        self.loop = ""
        self.mount = Path(settings.directory) / "mnt"

    def start(self) -> None:
        directory = Path(self.settings.directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.mount.mkdir(exist_ok=True)
        file = directory / "settings.json"
        file.write_text(self.settings.to_json())
        with (directory / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, sys.executable, "-S", "-m", "reconciler.mirror", str(file)],
                cwd=ROOT,
                stderr=log,
            )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                attending = Line(self.settings.control)
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((directory / "engine.log").read_text()) from None
                time.sleep(0.005)
        self._attending = threading.Thread(target=self._attend, args=(attending,), daemon=True)
        self._attending.start()

    def _attend(self, line: Line) -> None:
        line.wait_for_ever()
        with contextlib.suppress(OSError, ValueError):
            line.send(do="attend")
            while True:
                found = line.read()
                if "ask" in found:
                    lives = self._lives
                    refusal = self.cluster.answer(self.name, self.settings.peer, found, lives)
                    line.send(do="answer", number=found["number"], refusal=refusal)
        line.close()

    def _lives(self) -> bool:
        return self.process is not None

    def call(self, **request: Any) -> dict[str, Any]:
        line = Line(self.settings.control)
        try:
            return line.call(**request)
        finally:
            line.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call(do="status")["status"]
        return found

    def wait(self, **wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            status = self.status()
            if all(status.get(key) == value for key, value in wanted.items()):
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: wanted {wanted}, is {status}")
            time.sleep(0.01)

    def why_not(self) -> str | None:
        status = self.status()
        header = Header.from_json(status["header"])
        return promotion.why_not(self.cluster.record, self.name, header, status["boot"])

    def promote(self) -> None:
        """What the driver does: compare, prepare, commit, promote."""
        self.cluster.owner, self.cluster.epoch = self.name, self.cluster.epoch + 1
        refusal = self.why_not()
        if refusal is not None:
            raise PermissionError(refusal)
        record = self.cluster.record
        prepared = self.call(do="prepare", named=record.generation if record else "")
        assert prepared["ok"], prepared
        new = promotion.alone(record, self.name, self.cluster.epoch, prepared["generation"])
        assert new is not None
        self.cluster.record = new
        done = self.call(do="promote", epoch=self.cluster.epoch, generation=prepared["generation"])
        assert done["ok"], done

    def attach(self, *, make: bool = False) -> None:
        """Loop device, file system, mount."""
        self.loop = run("losetup", "-f", "--show", "--direct-io=on", self.settings.served).strip()
        loop_device.bound_requests(self.loop)  # as the agent's are
        if make:
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.loop)
        else:
            fsck = subprocess.run(["e2fsck", "-fp", self.loop], capture_output=True, check=False)
            assert fsck.returncode in (0, 1), fsck
        run("mount", self.loop, str(self.mount))

    def detach(self) -> None:
        for command in (["umount", str(self.mount)], ["losetup", "-d", self.loop]):
            subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_S)
        self.loop = ""

    def kill(self) -> None:
        """As a crash: the engine first, then what it served is cleared away."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE_S)
            self.process = None
            self._attending.join(DEADLINE_S)
        for command in (
            ["umount", "-l", str(self.mount)],
            ["losetup", "-d", self.loop or "/dev/null"],
            ["umount", "-l", self.settings.served],
        ):
            subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_S)
        self.loop = ""

    def content(self) -> bytes:
        return Path(self.settings.data).read_bytes()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


@contextlib.contextmanager
def pair(
    directory: Path,
    *,
    size: int = 64 << 20,
    asynchronous: bool = False,
    timeout_s: float = 2.0,
    prefixes: tuple[Sequence[str], Sequence[str]] = ((), ()),
    addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.1"),
    cluster: Cluster | None = None,
    devices: tuple[str, str] | None = None,
    **extra: Any,
) -> Iterator[tuple[Side, Side]]:
    """Both engines, up; killed at the end. `devices` have the data instead of files."""
    cluster = cluster or Cluster()
    key = directory / "key"
    key.write_text("secret of the mirror\n")
    ports = free_ports() if addresses[0] == addresses[1] else (7788, 7788)
    sides = []
    for mine, name in enumerate(("a", "b")):
        own = directory / name
        own.mkdir(exist_ok=True)
        settings = Settings(
            resource="md",
            server=name,
            peer="ba"[mine],
            data=devices[mine] if devices else str(own / "data"),
            metadata=str(own / "metadata"),
            size=size,
            directory=str(own / "run"),
            boot="this-boot",
            port=ports[mine],
            listen=(addresses[mine],),
            peers=(addresses[1 - mine],),
            key_file=str(key),
            asynchronous=asynchronous,
            timeout_s=timeout_s,
            history=str(own / "history"),
            peer_port=ports[1 - mine],
            **extra,
        )
        sides.append(Side(settings, cluster, prefixes[mine]))
    with reaped(directory):
        try:
            for side in sides:
                side.start()
            yield sides[0], sides[1]
        finally:
            for side in sides:
                side.kill()


@contextlib.contextmanager
def reaped(directory: Path) -> Iterator[None]:
    """Nothing of this directory stays mounted, even if this process is killed."""
    reaper = subprocess.Popen(
        [sys.executable, "-S", str(Path(__file__).with_name("reaper.py")), str(directory)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        assert reaper.wait(DEADLINE_S) == 0


def free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]
