"""A mirrored disk on a real lab: a counter, a power loss of its owner, and the way back."""

import contextlib
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterctl.lab import inside
from clusterctl.lab.plan import LabError
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab
from tests.mirror.pair import usable
from tests.mirror.test_engine import COUNTER

pytestmark = [
    pytest.mark.timeout(600),  # the first one counts
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]

SPECS = """
apiVersion: clusterctl/v1
kind: Group
metadata: {name: db}
spec:
  servers: [n1, n2]
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: db
  type: mirror-disk
  file: /var/lib/clusterctl/data.img
  size: 64MiB
  mountPoint: /srv/data
  formatConsent: first-build
  startTimeout: 60s
  stopTimeout: 60s
"""
WAIT_S = 120.0
READ = 'print(open("/srv/data/counter", "rb").read().hex())'


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    shown = [("events",)]
    with LabUnderTest.running(tmp_path / "lab", "--servers", "3", shown=shown) as found:
        yield found
        for node in ("n1", "n2"):  # shown when the test fails
            print(node, _mirror_log(found, node))


def _mirror_log(lab: LabUnderTest, node: str) -> str:
    try:
        _, text, _ = lab.run(node, "cat", "/run/clusterctl/mirrors/data/engine.log")
    except LabError as error:
        return str(error)
    return text


def _is_mounted(lab: LabUnderTest, node: str) -> bool:
    _, mounts, _ = lab.run(node, "cat", "/proc/mounts")
    return " /srv/data " in mounts


def _stored(lab: LabUnderTest, node: str) -> int:
    code, text, errors = lab.run(node, "python3", "-S", "-c", READ)
    assert code == 0, errors
    data = bytes.fromhex(text)
    return max(number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]))


def _acknowledged(told: Path) -> int:
    return int(told.read_bytes() or b"0")


def _count(lab: LabUnderTest, node: str, told: Path) -> "subprocess.Popen[bytes]":
    program = ["python3", "-S", "-c", COUNTER, "/srv/data/counter"]
    argv = inside.argv_on(lab.plan, lab.plan.node(node), program)
    with told.open("wb") as output:
        return subprocess.Popen(argv, stdout=output, stderr=subprocess.DEVNULL)


def test_a_power_loss_of_the_owner_loses_no_acknowledged_row_and_the_way_back_works(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    specs = tmp_path / "mirror.yaml"
    specs.write_text(SPECS)
    clusterctl("apply", "-f", str(specs))
    eventually(lambda: _is_mounted(lab, "n1"), "the disk is mounted on n1", WAIT_S)
    eventually(lambda: "mirror_in_sync" in _mirror_log(lab, "n1"), "in sync", WAIT_S)

    told = tmp_path / "told"
    counter = _count(lab, "n1", told)
    try:
        eventually(lambda: _acknowledged(told) > 50, "rows are written", WAIT_S)
        lab.lab("power", "n1", "off")
    finally:
        with contextlib.suppress(ProcessLookupError):
            counter.kill()
        counter.wait(30)
    acknowledged = _acknowledged(told)
    eventually(lambda: _is_mounted(lab, "n2"), "the disk is mounted on n2", WAIT_S)
    assert _stored(lab, "n2") >= acknowledged

    with contextlib.suppress(AssertionError):
        lab.lab("power", "n1", "on")  # the fence may have switched it on already
    eventually(lambda: "mirror_in_sync" in _mirror_log(lab, "n2"), "n1 caught up", WAIT_S)
    clusterctl("move", "group/db", "--to", "n1")
    eventually(lambda: _is_mounted(lab, "n1"), "the disk is mounted on n1 again", WAIT_S)
    assert not _is_mounted(lab, "n2")
    assert _stored(lab, "n1") >= acknowledged
