"""Mirrored disks beside their base line, an ext4 on a loop device with direct I/O on a local file.

Two real engines on this machine (`tests.mirror.pair`), so both copies share its processors and its
disk; large writes are measured once more with a disk for each (`own_disks`). fio measures base line
and mirror by turns. Needs root, /dev/fuse and fio.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import machine, own_disks
from tests.mirror.pair import Side, pair, reaped, run, usable

SIZE = 1 << 30
COPIED = 256 << 20
FIO_TIMEOUT_S = 120
DEADLINE_S = 60.0
QUIET_S = 1.0
SAMPLES = 100
TIMED = ("--runtime=4", "--time_based")
JOBS = {
    "seq": ("--rw=write", "--bs=1M", "--size=400M", "--end_fsync=1"),
    "fsync": ("--rw=randwrite", "--bs=4k", "--size=64M", "--fsync=1", *TIMED),
    "depth8": (
        *("--rw=randwrite", "--bs=4k", "--size=256M", "--direct=1"),
        *("--ioengine=libaio", "--iodepth=8", *TIMED),
    ),
}
Run = dict[str, Any]


def measure(runs: int) -> Iterator[Run]:
    """Raises `RuntimeError` where mirrors or fio can't run."""
    problem = usable() or (None if shutil.which("fio") else "fio is not installed")
    if problem is not None:
        raise RuntimeError(f"the mirror's benchmark can't run: {problem}")
    with ExitStack() as stack:
        base = stack.enter_context(_base_line())
        sync = stack.enter_context(_mirror(asynchronous=False))
        far = stack.enter_context(_mirror(asynchronous=True))
        for number in range(runs):
            for found in _throughput(base, sync[0], far[0]):
                yield {"run": number, "load": machine.load(), **found}
        for number in range(runs):
            for found in _failures(*sync):
                yield {"run": number, "load": machine.load(), **found}
        most = max(_peak_mib(side) for side in (*sync, *far))
        yield {"benchmark": "mirror-memory", "value": most}
    if own_disks.possible():
        for mode in ("sync", "async"):
            yield from _on_own_disks(mode, runs)


# -- places --------------------------------------------------------------------------------------


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="clusterctl-bench-"))
    try:
        with reaped(directory):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _base_line(below: str | None = None) -> Iterator[Path]:
    """`below`: the device to use, instead of a file."""
    with _directory() as directory:
        image, mount = directory / "image", directory / "mnt"
        mount.mkdir()
        if below is None:
            image.touch()
            os.truncate(image, SIZE)
        source = below or str(image)
        loop = run("losetup", "-f", "--show", "--direct-io=on", source).strip()
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", loop)
        run("mount", loop, str(mount))
        try:
            yield mount
        finally:
            run("umount", str(mount))
            run("losetup", "-d", loop)


@contextmanager
def _mirror(
    *, asynchronous: bool, devices: tuple[str, str] | None = None
) -> Iterator[tuple[Side, Side]]:
    options: dict[str, Any] = {"size": SIZE, "asynchronous": asynchronous, "devices": devices}
    with _directory() as directory, pair(directory, **options) as sides:
        serving = sides[0]
        serving.promote()
        serving.wait(stage="both")
        serving.attach(make=True)
        yield sides
        serving.detach()


# -- throughput ----------------------------------------------------------------------------------


def _throughput(base: Path, sync: Side, far: Side) -> Iterator[Run]:
    for job in JOBS:
        plain = _fio(base, job)
        sync.wait(stage="both")
        mirrored = _fio(sync.mount, job)
        value = mirrored if job == "depth8" else mirrored / plain
        yield {
            "benchmark": f"mirror-sync-{job}",
            "value": round(value, 2),
            "base": round(plain),
            "mirror": round(mirrored),
        }
        if job == "seq":
            plain = (plain + _fio(base, job)) / 2
            far.wait(stage="both")
            mirrored = _fio(far.mount, job)
            yield {
                "benchmark": "mirror-async-seq",
                "value": round(mirrored / plain, 2),
                "base": round(plain),
                "mirror": round(mirrored),
                "stage": far.status()["stage"],
            }


def _on_own_disks(mode: str, runs: int) -> Iterator[Run]:
    """Large writes; base line and both sides have a disk each."""
    with ExitStack() as stack:
        directory = stack.enter_context(_directory())
        one, two, three = (
            stack.enter_context(own_disks.disk(directory / name, SIZE)) for name in "abc"
        )
        base = stack.enter_context(_base_line(one))
        far = mode == "async"
        a, _ = stack.enter_context(_mirror(asynchronous=far, devices=(two, three)))
        for number in range(runs):
            plain = _fio(base, "seq")
            a.wait(stage="both")
            mirrored = _fio(a.mount, "seq")
            yield {
                "benchmark": f"mirror-{mode}-seq-own-disks",
                "run": number,
                "load": machine.load(),
                "value": round(mirrored / plain, 2),
                "base": round(plain),
                "mirror": round(mirrored),
                "stage": a.status()["stage"],
            }


def _fio(where: Path, job: str) -> float:
    """MiB a second of `seq`, operations a second of the others."""
    command = ["fio", "--name=x", f"--filename={where}/{job}", "--output-format=json", *JOBS[job]]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=FIO_TIMEOUT_S
    )
    written = json.loads(done.stdout)["jobs"][0]["write"]
    (where / job).unlink()
    os.sync()
    return float(written["bw_bytes"] / (1 << 20) if job == "seq" else written["iops"])


# -- failures ------------------------------------------------------------------------------------


class Writer:
    """A program that writes and syncs 4 KiB without a pause; (begin, end) of each."""

    def __init__(self, side: Side) -> None:
        self.done: list[tuple[float, float]] = []
        self._file = side.mount / "foreground"
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        handle, number = os.open(self._file, os.O_CREAT | os.O_RDWR), 0
        try:
            while not self._over:
                began = time.monotonic()
                os.pwrite(handle, os.urandom(4096), 4096 * (number % 64))
                os.fsync(handle)
                self.done.append((began, time.monotonic()))
                number += 1
        finally:
            os.close(handle)

    def wait(self, count: int, since: float = 0.0) -> list[float]:
        """Milliseconds of each that began after `since`, once there are so many."""
        end = time.monotonic() + DEADLINE_S
        while True:
            found = [(last - first) * 1000 for first, last in self.done if first >= since]
            if len(found) >= count:
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(found)} of {count} writes were answered")
            time.sleep(0.01)

    def end(self) -> None:
        self._over = True
        self._thread.join(DEADLINE_S)


def _failures(a: Side, b: Side) -> Iterator[Run]:
    a.wait(stage="both")
    yield _death(a, b)
    yield from _resync(a, b)
    yield _silence(a, b)


def _death(a: Side, b: Side) -> Run:
    """Until the first write is answered after the other side's engine died."""
    writer = Writer(a)
    writer.wait(SAMPLES)
    assert b.process is not None
    at = time.monotonic()
    b.process.send_signal(signal.SIGKILL)
    a.wait(stage="alone")
    writer.wait(1, time.monotonic())
    writer.end()
    b.kill()
    # one that was answered before the engine noticed says nothing: the longest does
    longest = max(last - max(first, at) for first, last in writer.done if last >= at)
    return {"benchmark": "mirror-peer-dies", "value": round(longest * 1000, 1)}


def _resync(a: Side, b: Side) -> Iterator[Run]:
    """The copy of `COPIED` bytes while somebody writes and syncs."""
    with (a.mount / "much").open("wb") as file:
        for _ in range(COPIED >> 20):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    writer = Writer(a)
    before = statistics.fmean(writer.wait(SAMPLES))
    began = time.monotonic()
    b.start()
    rates = []
    while (found := a.status())["stage"] == "alone":
        if found.get("rate"):
            rates.append((found["copied"], time.monotonic(), found["rate"]))
        time.sleep(0.01)
    during = [(last - first) * 1000 for first, last in writer.done if first >= began]
    writer.end()
    a.wait(stage="both")
    yield {
        "benchmark": "mirror-resync",
        "value": round(rates[-1][2] / (1 << 20)) if rates else 0,
        "copied_mib": rates[-1][0] >> 20 if rates else 0,
    }
    yield {
        "benchmark": "mirror-resync-latency",
        "value": round(statistics.fmean(during) / before, 1),
        "before_ms": round(before, 2),
        "longest_ms": round(max(during), 1),
    }


def _silence(a: Side, b: Side) -> Run:
    """The longest write after the other side stopped to answer, in seconds; `next` is the second
    longest: it happens once."""
    writer = Writer(a)
    writer.wait(SAMPLES)
    assert b.process is not None
    at = time.monotonic()
    b.process.send_signal(signal.SIGSTOP)
    a.wait(stage="alone")
    writer.wait(SAMPLES, time.monotonic())
    writer.end()
    b.process.send_signal(signal.SIGCONT)
    times = sorted(last - first for first, last in writer.done if last >= at)
    a.wait(stage="both")
    return {
        "benchmark": "mirror-peer-silent",
        "value": round(times[-1], 2),
        "next": round(times[-2], 2),
    }


def _peak_mib(side: Side) -> float:
    assert side.process is not None
    status = Path(f"/proc/{side.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)
