"""Two volumes of one asynchronous mirror on a real lab: after each power loss of the owner both are
of the same moment, and a program that uses both of them is stopped by a move."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterctl.lab import inside
from clusterctl.lab.plan import LabError
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab
from tests.mirror.pair import usable
from tests.mirror.test_operator_lab import is_in, online

pytestmark = [
    pytest.mark.timeout(900),  # the first one counts
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]

SPECS = """
apiVersion: clusterctl/v1
kind: Group
metadata: {name: db}
spec: {servers: [n1, n2]}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: db
  type: mirror-disk
  mode: async
  queueLimit: 32MiB
  file: /var/lib/clusterctl/data.img
  volumes:
    - {name: wal, size: 24MiB, mountPoint: /srv/data/wal, mountOptions: noatime}
    - {name: data, size: 40MiB, mountPoint: /srv/data}
  formatConsent: first-build
  unmountGrace: 500ms
  startTimeout: 60s
  stopTimeout: 60s
"""
WAIT_S = 120.0
FIRST, SECOND = "/srv/data/first", "/srv/data/wal/second"
WRITER = """
import os, struct, sys
first, second = (os.open(path, os.O_CREAT | os.O_RDWR) for path in sys.argv[1:])
def write(file, number):
    os.pwrite(file, struct.pack("<Q", number), 0)
    os.fsync(file)
number = struct.unpack("<Q", os.pread(first, 8, 0).ljust(8, bytes(1)))[0]
write(second, number)
while True:
    number += 1
    write(first, number)
    write(second, number)
    os.pwrite(1, b"%020d" % number, 0)
"""
READ = "import sys; print(*(int.from_bytes(open(p, 'rb').read(8), 'little') for p in sys.argv[1:]))"
MORE = SPECS.replace(
    "  formatConsent: first-build",
    "    - {name: more, size: 16MiB, mountPoint: /srv/more}\n  formatConsent: one-more",
)
ROUNDS = (("n1", "n2"), ("n2", "n1"), ("n1", "n2"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    shown = (("mirror", "status", "data"), ("events",))
    with LabUnderTest.running(tmp_path / "lab", "--servers", "3", shown=shown) as found:
        yield found


def mounts(lab: LabUnderTest, node: str) -> dict[str, str]:
    """Devices by directory, of our volumes."""
    _, table, _ = lab.run(node, "cat", "/proc/mounts")
    lines = [line.split()[:2] for line in table.splitlines()]
    return {at: device for device, at in lines if at.startswith("/srv/")}


def stored(lab: LabUnderTest, node: str) -> tuple[int, int]:
    first, second = lab.output(node, "python3", "-S", "-c", READ, FIRST, SECOND).split()
    return int(first), int(second)


def told(file: Path) -> int:
    return int(file.read_bytes() or b"0")


@contextlib.contextmanager
def writing(lab: LabUnderTest, node: str, file: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A program that counts in both volumes, until it wrote some more; ended at the end."""
    program = ["python3", "-S", "-c", WRITER, FIRST, SECOND]
    argv = inside.argv_on(lab.plan, lab.plan.node(node), program)
    with file.open("wb") as output:
        writer = subprocess.Popen(argv, stdout=output, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: told(file) > 0, "the program writes", WAIT_S)
        goal = told(file) + 100
        eventually(lambda: told(file) > goal, "numbers are written", WAIT_S)
        yield writer
    finally:
        with contextlib.suppress(ProcessLookupError):
            writer.kill()
        writer.wait(30)


def test_after_each_power_loss_both_volumes_are_of_the_same_moment(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    specs = tmp_path / "mirror.yaml"
    specs.write_text(SPECS)
    clusterctl("apply", "-f", str(specs))
    online("n1")
    devices = mounts(lab, "n1")
    assert set(devices) == {"/srv/data", "/srv/data/wal"}
    assert len(set(devices.values())) == 2

    for number, (owner, other) in enumerate(ROUNDS):
        is_in("in-sync")
        with writing(lab, owner, tmp_path / f"told{number}"):
            lab.lab("power", owner, "off")
        online(other)
        first, second = stored(lab, other)
        assert first > 0
        assert second <= first <= second + 1
        with contextlib.suppress(AssertionError, LabError):
            lab.lab("power", owner, "on")  # the fence may have switched it on already
    is_in("in-sync")

    owner, other = ROUNDS[-1][1], ROUNDS[-1][0]
    with writing(lab, owner, tmp_path / "told") as writer:
        clusterctl("move", "group/db", "--to", other)
        online(other)
        assert writer.wait(30) != 0  # it used both, and was ended
        assert mounts(lab, owner) == {}
    first, second = stored(lab, other)
    assert first >= told(tmp_path / "told")
    assert second <= first <= second + 1

    specs.write_text(MORE)
    clusterctl("apply", "-f", str(specs))
    eventually(lambda: "/srv/more" in mounts(lab, other), "the new volume is mounted", WAIT_S)
    assert stored(lab, other) == (first, second)
    lab.output(other, "sh", "-c", "echo new > /srv/more/file && sync")
    is_in("in-sync")
    clusterctl("move", "group/db", "--to", owner)
    online(owner)
    assert lab.output(owner, "cat", "/srv/more/file") == "new\n"
    assert stored(lab, owner) == (first, second)
