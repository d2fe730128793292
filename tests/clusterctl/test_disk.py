"""disk prepare: what a device holds is never overwritten by mistake."""

import json
from pathlib import Path

import pytest

from reconciler.pulse.disk_layout import SIZE, header, owner_of
from tests.clusterctl.conftest import FakeCluster


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "device"
    file.write_bytes(bytes(SIZE + 4096))
    return file


def test_an_empty_device_becomes_ours_once(cluster: FakeCluster, device: Path) -> None:
    first = cluster.run("disk", "prepare", str(device))
    assert first.code == 0, first.err
    assert owner_of(device.read_bytes()) == "demo"
    again = cluster.run("disk", "prepare", str(device))
    assert (again.code, "already" in again.out) == (0, True)
    shown = json.loads(cluster.run("disk", "show", str(device), "-o", "json").out)
    assert shown == {"device": str(device), "cluster": "demo", "slots": []}


@pytest.mark.parametrize("at", [0, SIZE - 1])
def test_a_device_with_data_is_refused_unless_named_twice(
    cluster: FakeCluster, device: Path, at: int
) -> None:
    content = bytearray(device.read_bytes())
    content[at] = 1
    device.write_bytes(content)
    refused = cluster.run("disk", "prepare", str(device))
    assert (refused.code, "not empty" in refused.err) == (5, True)
    assert device.read_bytes() == content
    assert cluster.run("disk", "prepare", str(device), "--erase", "/dev/other").code == 5
    assert cluster.run("disk", "prepare", str(device), "--erase", str(device)).code == 0
    assert owner_of(device.read_bytes()) == "demo"


def test_a_disk_of_another_cluster_is_refused(cluster: FakeCluster, device: Path) -> None:
    device.write_bytes(header("other").ljust(SIZE, b"\0"))
    refused = cluster.run("disk", "prepare", str(device))
    assert (refused.code, "cluster other" in refused.err) == (5, True)


def test_a_small_or_missing_device_is_one_sentence(cluster: FakeCluster, device: Path) -> None:
    device.write_bytes(bytes(8192))
    small = cluster.run("disk", "prepare", str(device))
    assert (small.code, "too small" in small.err) == (2, True)
    missing = cluster.run("disk", "show", str(device) + "x")
    assert (missing.code, "No such file" in missing.err) == (2, True)
