"""Where faults happen: two engines, each with a small disk of its own, and a witness of what is
promised and found. Called by `kinds` and `__main__`."""

import contextlib
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.mirror.faults.counter import Counter, read
from tests.mirror.faults.network import ADDRESSES, Network, two_networks
from tests.mirror.pair import DEADLINE_S, Cluster, Side, pair, reaped, run

SIZE = 48 << 20
DISK = 80 << 20
TIMEOUT_S = 0.4
CATCH_UP_S = 10.0
Event = dict[str, Any]


class WitnessedCluster(Cluster):
    """Each change of the record is told to the history."""

    history: list[Event]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "record" and value is not None:
            self.history.append({"event": "record", "servers": list(value.servers)})


@dataclass
class Place:
    """`owner` serves the disk, `follower` is the other side; they change places at a takeover."""

    sides: tuple[Side, Side]
    network: Network
    cluster: WitnessedCluster
    asynchronous: bool
    on_devices: bool
    owner: Side
    follower: Side
    counter: Counter | None = None
    run: int = 0
    is_worn: bool = False
    kept: dict[str, str] = field(default_factory=dict)

    def number(self, side: Side) -> int:
        return self.sides.index(side)

    def tell(self, event: str, **fields: Any) -> None:
        self.cluster.history.append({"event": event, **fields})

    # -- a run ---------------------------------------------------------------------------------

    def begin(self) -> Counter:
        """The disk mounted, a fresh counter on it."""
        self.run += 1
        self.cluster.history = []
        if not self.owner.loop:
            self.owner.attach()
        told = self.disk(self.owner).parent / "told"
        self.counter = Counter(self.owner.mount / f"counter-{self.run}", told)
        return self.counter

    def lose_counter(self) -> None:
        """What it was told until now was promised."""
        assert self.counter is not None
        acknowledged, issued = self.counter.end()
        self.tell("acknowledged", number=acknowledged, issued=issued)

    def look(self) -> None:
        """What the owner has now, after its file system was mended as at every mount."""
        number, missing = read(self.owner.mount / f"counter-{self.run}")
        self.tell("found", server=self.owner.name, number=number, missing=missing[:5])
        files = self.owner.mount.glob("counter-*")
        now = {path.name: _digest(path) for path in files}
        intact = all(now.get(name) == digest for name, digest in self.kept.items())
        self.tell("kept", intact=intact)

    def take_over(self, side: Side | None = None) -> None:
        """The other side (or `side`) is promoted and mounts; raises `PermissionError`."""
        new = side or self.follower
        record = self.cluster.record
        before = list(record.servers) if record is not None else None
        try:
            new.promote()
        except PermissionError as refusal:
            self.tell("refused", server=new.name, why=str(refusal))
            raise
        self.tell("promoted", server=new.name, current=before)
        self.owner = new
        self.follower = self.sides[1 - self.number(new)]
        new.attach()
        self.look()

    def refuses(self, side: Side) -> None:
        """A side that lacks something acknowledged is asked to serve."""
        try:
            side.promote()
        except PermissionError as refusal:
            self.tell("refused", server=side.name, why=str(refusal))
        else:
            self.tell(
                "promoted", server=side.name, current=[self.sides[1 - self.number(side)].name]
            )

    def together(self) -> None:
        self.owner.call(do="resync", how="difference")  # no pause before the next attempt
        self.owner.wait(stage="both", suspended=False)

    def finish(self) -> None:
        """In sync and unmounted; both sides are looked at."""
        self.together()
        if self.counter is not None and self.counter.process.poll() is None:
            self.counter.end()
        if not self.owner.loop:
            return
        self.kept = {path.name: _digest(path) for path in self.owner.mount.glob("counter-*")}
        run("umount", str(self.owner.mount))
        self._check(self.owner, self.owner.loop)
        self.together()
        self.tell("compared", equal=self._become_equal())
        self._check(self.follower, self.follower.settings.data)
        run("losetup", "-d", self.owner.loop)
        self.owner.loop = ""

    def _become_equal(self) -> bool:
        """An asynchronous follower may still be writing."""
        end = time.monotonic() + (CATCH_UP_S if self.asynchronous else 0.0)
        while not (equal := _content(self.owner) == _content(self.follower)):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return equal

    def _check(self, side: Side, path: str) -> None:
        done = subprocess.run(["e2fsck", "-fn", path], capture_output=True, text=True, check=False)
        said = {"said": done.stdout[-1500:]} if done.returncode else {}
        self.tell("fsck", server=side.name, code=done.returncode, **said)
        if done.returncode and "MIRROR_FAULTS_KEEP" in os.environ:
            for each in self.sides:
                kept = f"{os.environ['MIRROR_FAULTS_KEEP']}/{os.getpid()}-{self.run}-{each.name}"
                Path(kept).write_bytes(_content(each))

    # -- disks -----------------------------------------------------------------------------------

    def disk(self, side: Side) -> Path:
        return Path(side.settings.metadata).parent

    def has_all_space(self, side: Side) -> bool:
        """Less than a quarter of its file is a hole."""
        return Path(side.settings.data).stat().st_blocks * 512 > SIZE * 3 // 4

    def fill(self, side: Side) -> None:
        with contextlib.suppress(OSError), (self.disk(side) / "filler").open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()

    def free(self, side: Side) -> None:
        (self.disk(side) / "filler").unlink()

    def read_only(self, side: Side, *, on: bool) -> None:
        run("blockdev", "--setro" if on else "--setrw", side.settings.data)

    def power_off(self, side: Side) -> None:
        """Every process of that server at once."""
        if self.counter is not None and side is self.owner:
            self.counter.kill()
        side.kill()


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _content(side: Side) -> bytes:
    with Path(side.settings.data).open("rb") as file:
        return file.read(SIZE)


@contextlib.contextmanager
def place(*, asynchronous: bool, on_devices: bool) -> Iterator[Place]:
    """A fresh mirror with an empty file system, in sync."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mirror-faults-")))
        stack.enter_context(reaped(directory))
        for name in ("a", "b"):
            (directory / name).mkdir()
            run("mount", "-t", "tmpfs", "-o", f"size={DISK}", "disk", str(directory / name))
        devices = _devices(directory) if on_devices else None
        network = stack.enter_context(two_networks())
        cluster = WitnessedCluster.__new__(WitnessedCluster)
        cluster.history = []
        cluster.__init__()  # type: ignore[misc]
        sides = stack.enter_context(
            pair(
                directory,
                size=SIZE,
                asynchronous=asynchronous,
                timeout_s=TIMEOUT_S,
                connect_timeout_s=TIMEOUT_S,
                prefixes=(network.prefix(0), network.prefix(1)),
                addresses=ADDRESSES,
                cluster=cluster,
                devices=devices,
            )
        )
        found = Place(sides, network, cluster, asynchronous, on_devices, *sides)
        sides[0].promote()
        found.together()
        sides[0].attach(make=True)
        yield found
        if found.counter is not None:
            found.counter.end()


def _devices(directory: Path) -> tuple[str, str]:
    found = []
    for name in ("a", "b"):
        image = directory / name / "image"
        run("truncate", "-s", str(SIZE), str(image))
        found.append(run("losetup", "-f", "--show", "--direct-io=on", str(image)).strip())
    return found[0], found[1]


def until(condition: Any) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it does not come")
        time.sleep(0.005)
