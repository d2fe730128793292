"""One virtual machine with Debian's kernel, for what this machine's own kernel cannot do.

Its root is this machine's, read-only, with programs of `.tools/guest` and memory over it; so what
is tested inside is this checkout. Guests of one `Wire` see each other, and nobody else. A guest
ends with `Guest.end`, with the process that made it, and with `power_off`, which is a power loss:
what its disks were not told to flush is gone.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.guests.line import Line

TREE = Path(__file__).resolve().parents[2]
TOOLS = TREE / ".tools" / "guest"
BOOT_LIMIT_S = 180.0
RUN_LIMIT_S = 120.0


class GuestError(Exception):
    """A guest did not do what it must; one sentence and its last words."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended inside: 124 at its time-out, 127 when it is not there."""

    code: int
    output: str


def why_not() -> str:
    """Why no guest can be started here; "" when one can."""
    if not (TOOLS / ".ready").exists():
        return "guests are not set up: make guest-test does it"
    return ""


def has_kvm() -> bool:
    """/dev/kvm alone says nothing: a kernel that is a guest itself may offer one that boots no
    ordinary kernel."""
    modules = [Path(f"/sys/module/{name}") for name in ("kvm_intel", "kvm_amd")]
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and any(m.is_dir() for m in modules)


class Guest:
    """`number` makes its addresses: 10.77.0.<number>. `disks` are files, in order /dev/vda…"""

    def __init__(self, directory: Path, number: int, disks: Sequence[Path] = ()) -> None:
        self.name, self.address = f"n{number}", f"10.77.0.{number}"
        self._directory, self._number, self._disks = directory, number, disks
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, Done] = {}
        self._arrived = threading.Condition()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Boot; `wait` says when it is up."""
        if self._process is not None:
            raise GuestError(f"{self.name} runs already")
        for name in ("wire", "port", "drive"):
            self.path(name).unlink(missing_ok=True)
        with self.path("qemu").open("wb") as said:
            self._process = subprocess.Popen(
                # a guest ends with the thread that started it, whatever happens to that one
                ["setpriv", "--pdeathsig", "KILL", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "root/usr/lib/x86_64-linux-gnu")},
                start_new_session=True,
            )

    def wait(self) -> Self:
        """Until it runs commands. Raises `GuestError`."""
        deadline = time.monotonic() + BOOT_LIMIT_S
        while self._line is None:
            self._alive()
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name} does not boot: {self.console()[-600:]}")
            self._line = Line.to(self.path("port"), self._heard)
            time.sleep(0.1)
        left = max(deadline - time.monotonic(), 1.0)
        self.run("true", timeout_s=left)
        return self

    def power_off(self) -> None:
        """As a cut cable."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(timeout=30)
        if self._line is not None:
            self._line.close()
            self._line = None

    end = power_off

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def console(self) -> str:
        """What its kernel wrote."""
        try:
            return self.path("console").read_text(errors="replace")
        except OSError:
            return ""

    # -- programs inside -------------------------------------------------------------------------

    def run(self, *argv: str, timeout_s: float = RUN_LIMIT_S, stdin: str = "") -> str:
        """What it wrote. Raises `GuestError` unless it ended with 0."""
        done = self.attempt(*argv, timeout_s=timeout_s, stdin=stdin)
        if done.code:
            raise GuestError(f"{self.name}: {' '.join(argv)}: {done.code}: {done.output[-2000:]}")
        return done.output

    def shell(self, script: str, timeout_s: float = RUN_LIMIT_S) -> str:
        """The same for a few lines of sh that stop at the first failure."""
        return self.run("/bin/sh", "-euc", script, timeout_s=timeout_s)

    def python(self, module: str, *arguments: str, timeout_s: float = RUN_LIMIT_S) -> str:
        """The same for a module of this checkout."""
        command = ["env", f"PYTHONPATH={TREE}", str(TREE / ".venv/bin/python"), "-m", module]
        return self.run(*command, *arguments, timeout_s=timeout_s)

    def attempt(self, *argv: str, timeout_s: float = RUN_LIMIT_S, stdin: str = "") -> Done:
        """Raises `GuestError` only when the guest does not answer."""
        if self._line is None:
            raise GuestError(f"{self.name} is off")
        number = next(self._numbers)
        order = {"number": number, "argv": argv, "input": stdin, "timeout": timeout_s}
        self._line.send(order)
        with self._arrived:
            deadline = time.monotonic() + timeout_s + 30
            while number not in self._answers and self.is_up and time.monotonic() < deadline:
                self._arrived.wait(1.0)
            if number not in self._answers:
                self._alive()
                raise GuestError(f"{self.name} does not answer: {self.console()[-600:]}")
            return self._answers.pop(number)

    def until(
        self, what: str, holds: Callable[[Self], bool], timeout_s: float = RUN_LIMIT_S
    ) -> None:
        """Raises `GuestError` when it does not come to be."""
        deadline = time.monotonic() + timeout_s
        while not holds(self):
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name}: never {what}")
            time.sleep(0.1)

    # -- how -------------------------------------------------------------------------------------

    def path(self, what: str) -> Path:
        """A file or socket of this guest: console, qemu, wire, port, drive."""
        return self._directory / f"{self.name}.{what}"

    def _command(self) -> list[str]:
        accelerate = ["-accel", "kvm", "-cpu", "host"] if has_kvm() else ["-accel", "tcg"]
        model = [] if has_kvm() else ["-cpu", "max"]
        words: Mapping[str, str] = {
            "console": "ttyS0",
            "panic": "-1",
            "mitigations": "off",
            "net.ifnames": "0",
            "name": self.name,
            "address": self.address,
            "tree": str(TREE),
            "python": str(TREE / ".venv/bin/python"),
        }
        line = " ".join(f"{key}={value}" for key, value in words.items())
        other = self._directory / f"n{3 - self._number}.wire"
        wire = f"dgram,id=net,local.type=unix,local.path={self.path('wire')}"
        command = [
            str(TOOLS / "root/usr/bin/qemu-system-x86_64"),
            *(
                "-L",
                str(TOOLS / "root/usr/share/qemu"),
                "-L",
                str(TOOLS / "root/usr/share/seabios"),
            ),
            *(*accelerate, *model, "-M", "q35", "-m", "640", "-nodefaults", "-no-user-config"),
            *("-display", "none", "-no-reboot", "-serial", f"file:{self.path('console')}"),
            *("-kernel", str(TOOLS / "kernel"), "-initrd", str(TOOLS / "initramfs")),
            *("-append", f"{line} quiet"),
            *("-virtfs", _shared("/", "root"), "-virtfs", _shared(str(TOOLS / "root"), "tools")),
            *("-netdev", f"{wire},remote.type=unix,remote.path={other}"),
            *(
                "-device",
                f"virtio-net-pci,netdev=net,romfile=,mac=52:54:00:77:00:0{self._number}",
            ),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=port,path={self.path('port')},server=on,wait=off"),
            *("-device", "virtserialport,chardev=port,name=clusterctl"),
            *("-chardev", f"socket,id=drive,path={self.path('drive')},server=on,wait=off"),
            *("-device", "virtserialport,chardev=drive,name=drive"),
        ]
        for number, disk in enumerate(self._disks):
            # with a cache of its own, as disks have: what was not flushed may be lost
            command += ["-drive", f"file={disk},format=raw,if=none,id=d{number},cache=writeback"]
            command += ["-device", f"virtio-blk-pci,drive=d{number},serial=disk{number}"]
        return command

    def _alive(self) -> None:
        if not self.is_up:
            said = self.path("qemu").read_text(errors="replace")[-600:]
            raise GuestError(f"{self.name} ended: {said} {self.console()[-600:]}")

    def _heard(self, answer: dict[str, Any]) -> None:
        with self._arrived:
            self._answers[int(answer["number"])] = Done(int(answer["code"]), answer["output"])
            self._arrived.notify_all()


def blank_disk(path: Path, size: int) -> Path:
    """A sparse file of `size` bytes."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def _shared(path: str, tag: str) -> str:
    return f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"


if __name__ == "__main__":
    print(why_not() or ("kvm" if has_kvm() else "tcg"), file=sys.stderr)
