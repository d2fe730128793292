"""Probes of disks on real files and loop devices; one hangs so that nothing can kill the probe."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux.probes import LinuxProbes
from reconciler.disks.scsi import Answer
from reconciler.monitors.disk import Disk
from reconciler.monitors.disk_tur import DiskTur
from reconciler.plugin import Site
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.probe import disk
from tests.monitors.test_conformance import Asked
from tests.resources.memory_host import MemoryHost
from tests.resources.places import resource_from

COMMON = {"target": "group/web"}
DATA = resource_from(
    "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: data}\n"
    "spec: {group: web, type: shared-disk, device: /dev/disk/by-id/x, mountPoint: /srv/data}\n"
)


@pytest.fixture
async def probes() -> AsyncIterator[LinuxProbes]:
    made = LinuxProbes()
    yield made
    made.close()


async def run(probes: LinuxProbes, timeout_s: float = 20.0, **settings: Any) -> Sample:
    asked = {"action": "write", "bytes": 1 << 20, "full_is_fault": True, **settings}
    return await probes.run("disk", asked, timeout_s)


async def test_a_file_is_written_and_read(probes: LinuxProbes, tmp_path: Path) -> None:
    path = tmp_path / "probe"
    for size in (4096, 1 << 20, (1 << 20) + 4096):
        found = await run(probes, path=str(path), bytes=size)
        assert found.healthy, found.reason
        assert f"{size} bytes written and read" in found.reason
        assert path.stat().st_size >= size


async def test_what_cannot_be_written_is_a_fault(probes: LinuxProbes, tmp_path: Path) -> None:
    found = await run(probes, path=str(tmp_path / "nowhere/probe"))
    assert (found.healthy, "No such file" in found.reason) == (False, True)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert (await run(probes, path=str(tmp_path / "link"))).healthy is False
    found = await run(probes, path=str(tmp_path / "file"), mount=str(tmp_path))
    assert (found.healthy, "nothing is mounted" in found.reason) == (False, True)
    assert not (tmp_path / "file").exists()


async def test_a_disk_that_changes_what_it_holds_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", lambda _, views, at: len(views[0]))
    with pytest.raises(OSError, match="not what was written"):
        disk.write({"path": str(tmp_path / "probe"), "bytes": 4096, "full_is_fault": True})


async def test_a_device_is_read_and_one_that_is_gone_is_a_fault(
    probes: LinuxProbes, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    found = await run(probes, action="read", path=str(tmp_path / "image"), bytes=8192)
    assert found.healthy, found.reason
    assert (await run(probes, action="read", path="/dev/disk/by-id/nobody")).healthy is False


def test_ready_paths_are_counted() -> None:
    good, gone = Answer(0), Answer(0, host=1)
    asleep = Answer(0x02, key=2, asc=4, ascq=1)
    reserved = Answer(0x18)
    assert disk.judge({"a": good, "b": reserved}, 2)["healthy"]
    assert disk.judge({"a": good, "b": gone}, 1)["healthy"]
    said = disk.judge({"a": good, "b": gone}, 2)
    assert said["healthy"] is False
    assert "1 of 2 paths are ready, 2 wanted; b: the transport failed" in str(said["reason"])
    assert "not ready (asc 0x04, ascq 0x01)" in str(disk.judge({"a": asleep}, 1)["reason"])
    assert disk.judge({"a": good}, 2)["healthy"] is False, "a path that is gone from the list"


async def test_a_disk_without_scsi_says_nothing(probes: LinuxProbes, loop: str) -> None:
    found = await run(probes, action="ready", path=loop, minimum=1)
    assert (found.healthy, "no SCSI commands" in found.reason) == (None, True)


@pytest.mark.parametrize("model", [Disk, DiskTur])
def test_exactly_one_thing_is_looked_at(model: Any) -> None:
    with pytest.raises(ValueError, match=r"give (one of|either) resource"):
        model.model_validate(COMMON)
    with pytest.raises(ValueError, match="give"):
        model.model_validate(COMMON | {"resource": "data", "device": "/dev/x"})


async def test_the_disk_of_a_resource_is_found() -> None:
    asked = Asked(Sample(True))
    site = Site("m", "n1", MemoryHost(), asked, {"data": DATA})
    await Disk.model_validate(COMMON | {"resource": "data"}).sample(site)
    await DiskTur.model_validate(COMMON | {"resource": "data"}).sample(site)
    (_, first, _), (_, second, _) = asked.requests
    assert (first["path"], first["mount"]) == ("/srv/data/.clusterctl-m", "/srv/data")
    assert second["path"] == "/dev/disk/by-id/x"
    for model in (Disk, DiskTur):
        with pytest.raises(ProbeUnavailable, match="resource other"):
            await model.model_validate(COMMON | {"resource": "other"}).sample(site)


# -- a disk that hangs -----------------------------------------------------------------------------


def command(*words: str) -> str:
    return subprocess.run(
        words, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices")
    with (tmp_path / "disk.img").open("wb") as image:
        image.truncate(32 << 20)
    device = command("losetup", "--find", "--show", str(tmp_path / "disk.img"))
    yield device
    command("losetup", "--detach", device)


@pytest.fixture
def frozen(loop: str, tmp_path: Path) -> Iterator[Path]:
    """A file system that lets nobody write: who tries can't be killed."""
    if shutil.which("fsfreeze") is None or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs fsfreeze and mkfs.ext4")
    command("mkfs.ext4", "-q", loop)
    mount = tmp_path / "mnt"
    mount.mkdir()
    command("mount", loop, str(mount))
    (mount / "probe").touch()
    command("fsfreeze", "--freeze", str(mount))
    yield mount
    with contextlib.suppress(subprocess.CalledProcessError):
        command("fsfreeze", "--unfreeze", str(mount))
    for _ in range(200):
        if subprocess.run(["umount", str(mount)], check=False, stderr=-3).returncode == 0:
            return


@pytest.mark.integration
async def test_a_disk_that_hangs_is_a_fault_and_holds_one_process_only(
    probes: LinuxProbes, frozen: Path, tmp_path: Path
) -> None:
    path = str(frozen / "probe")
    first = await run(probes, timeout_s=0.5, path=path)
    assert (first.healthy, "within 0.5 s" in first.reason) == (False, True)
    for _ in range(2):
        again = await run(probes, timeout_s=20.0, path=path)
        assert (again.healthy, "has been hanging" in again.reason) == (False, True)
    assert (await run(probes, path=str(tmp_path / "other"))).healthy, "others are looked at"
    command("fsfreeze", "--unfreeze", str(frozen))
    async with asyncio.timeout(30):
        while not (await run(probes, path=path)).healthy:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)


DIVIDED = resource_from(
    "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: data}\n"
    "spec:\n  group: web\n  type: mirror-disk\n  file: /srv/x\n  volumes:\n"
    "    - {name: base, size: 16MiB, mountPoint: /srv/base}\n"
    "    - {name: wal, size: 16MiB, mountPoint: /srv/wal}\n"
)


@pytest.mark.parametrize(
    ("more", "directory"), [({}, "/srv/base"), ({"volume": "wal"}, "/srv/wal")]
)
async def test_one_of_several_volumes_is_looked_at(more: dict[str, str], directory: str) -> None:
    asked = Asked(Sample(True))
    site = Site("m", "n1", MemoryHost(), asked, {"data": DIVIDED})
    await Disk.model_validate(COMMON | {"resource": "data"} | more).sample(site)
    ((_, settings, _),) = asked.requests
    assert settings["mount"] == directory


async def test_a_volume_that_is_not_there_is_not_looked_at() -> None:
    site = Site("m", "n1", MemoryHost(), Asked(Sample(True)), {"data": DIVIDED})
    with pytest.raises(ProbeUnavailable, match="data has no volume log"):
        await Disk.model_validate(COMMON | {"resource": "data", "volume": "log"}).sample(site)
    with pytest.raises(ValueError, match="needs the resource"):
        Disk.model_validate(COMMON | {"file": "/x", "volume": "log"})
