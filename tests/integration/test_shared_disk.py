"""Shared disks on real loop devices and ext4: mounts, users, checks, and who else has the disk.

SCSI reservations need a kernel with SCSI; they are tested byte by byte in tests/disks."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux.host import LinuxHost
from reconciler.binding import BoundDriver
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.resources.shared_disk import SharedDisk
from specs.resource import Resource
from tests.resources.places import driver_of, permit, permit_for, resource_from

TEXT = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec:
  group: web
  type: shared-disk
  {disk}
  reservation: none
  mountPoint: {at}
  unmountGrace: 200ms
"""
HOLD = "import sys, time; f = open(sys.argv[1], 'w'); print('up', flush=True); time.sleep(600)"
MAP = (
    "import mmap, os, sys, time; f = open(sys.argv[1], 'w+b'); f.truncate(4096); "
    "m = mmap.mmap(f.fileno(), 4096); os.closerange(3, 99); print('up', flush=True); "
    "time.sleep(600)"
)
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); " + HOLD


def missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    for program in ("mkfs.ext4", "e2fsck", "losetup", "mount"):
        if shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
            return f"needs {program}"
    return ""


pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "loop devices are there"),
]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.strip()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 32 << 20)
    run("mkfs.ext4", "-q", "-F", str(path))
    return path


@pytest.fixture
def device(image: Path) -> Iterator[str]:
    node = run("losetup", "--find", "--show", str(image))
    yield node
    while run("findmnt", "-n", "-o", "TARGET", "-S", node):
        run("umount", node)
    run("losetup", "--detach", node)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LinuxHost]:
    async with LinuxHost(tmp_path / "run") as made:
        yield made


def resource(tmp_path: Path, device: str = "", **fields: Any) -> Resource:
    disk = f"device: {device}\n  allowUnstableName: true" if device else "file: FILE"
    disk = disk.replace("FILE", str(tmp_path / "disk.img"))
    found = resource_from(TEXT.format(disk=disk, at=tmp_path / "mnt"))
    assert isinstance(found.spec, SharedDisk)
    return found.model_copy(update={"spec": found.spec.model_copy(update=fields)})


@pytest.fixture
async def driver(tmp_path: Path, device: str, host: LinuxHost) -> AsyncIterator[BoundDriver]:
    bound = driver_of(resource(tmp_path, device), host)
    yield bound
    await bound.close()
    await bound.deactivate(99)


def is_mounted(directory: Path) -> bool:
    return os.path.ismount(directory)


def overwrite(device: str, at: int, data: bytes) -> None:
    with Path(device).open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


async def user_of(program: str, path: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    return process


async def test_its_life(driver: BoundDriver, tmp_path: Path) -> None:
    assert (await driver.observe()).state is ResourceState.INACTIVE
    await driver.activate(permit(3))
    (tmp_path / "mnt/hello").write_text("there")
    found = await driver.observe()
    assert (found.state, found.epoch) == (ResourceState.ACTIVE, 3)
    await driver.activate(permit(3))
    await driver.deactivate(2)
    assert is_mounted(tmp_path / "mnt")
    await driver.deactivate(3)
    assert not is_mounted(tmp_path / "mnt")
    assert (await driver.observe()).state is ResourceState.INACTIVE
    await driver.activate(permit(4))
    assert (tmp_path / "mnt/hello").read_text() == "there"


async def test_a_permit_that_ends_leaves_nothing_mounted(
    driver: BoundDriver, tmp_path: Path
) -> None:
    for checks in range(1, 12):
        try:
            await driver.activate(permit_for(checks))
        except PermitExpired:
            assert not is_mounted(tmp_path / "mnt")
        else:
            break
    assert is_mounted(tmp_path / "mnt")


async def test_a_mount_that_vanishes_wakes_its_keeper(driver: BoundDriver, tmp_path: Path) -> None:
    await driver.activate(permit())
    await driver.observe()
    woken = asyncio.ensure_future(driver.changed())
    done, _ = await asyncio.wait({woken}, timeout=0.2)
    assert not done
    run("umount", str(tmp_path / "mnt"))
    await asyncio.wait_for(woken, 20)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    await driver.activate(permit())
    assert is_mounted(tmp_path / "mnt")


@pytest.mark.parametrize("program", [HOLD, MAP, STUBBORN], ids=["open", "mapped", "stubborn"])
async def test_whoever_uses_it_is_ended(driver: BoundDriver, tmp_path: Path, program: str) -> None:
    await driver.activate(permit())
    process = await user_of(program, tmp_path / "mnt/file")
    await driver.deactivate(1)
    assert not is_mounted(tmp_path / "mnt")
    assert await process.wait() == (-9 if program == STUBBORN else -15)


async def test_other_mounts_of_it_and_mounts_below_it_go_too(
    driver: BoundDriver, device: str, tmp_path: Path
) -> None:
    await driver.activate(permit())
    (tmp_path / "mnt/below").mkdir()
    (tmp_path / "other").mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "mnt/below"))
    run("mount", "--bind", str(tmp_path / "mnt"), str(tmp_path / "other"))
    await driver.deactivate(1)
    assert run("findmnt", "-n", "-S", device) == ""
    assert not is_mounted(tmp_path / "mnt/below")


async def test_what_no_signal_ends_is_a_failed_stop(
    driver: BoundDriver, tmp_path: Path, host: LinuxHost
) -> None:
    """A loop device on a file of it: in use, and by no process."""
    await driver.activate(permit())
    inner = tmp_path / "mnt/inner.img"
    inner.touch()
    os.truncate(inner, 1 << 20)
    node = run("losetup", "--find", "--show", str(inner))
    try:
        with pytest.raises(ResourceError, match="cannot be unmounted"):
            await driver.deactivate(1)
        assert is_mounted(tmp_path / "mnt")
        assert "data" in host.disks.claims()
    finally:
        run("losetup", "--detach", node)
    await driver.deactivate(1)


@pytest.mark.parametrize("inside", ["sleep 600", f"exec {sys.executable} -c '{HOLD}' file"])
async def test_a_copy_of_the_mount_in_another_namespace_goes_too(
    driver: BoundDriver, device: str, tmp_path: Path, inside: str
) -> None:
    await driver.activate(permit())
    shell = f"cd {tmp_path / 'mnt'}; exec 3>&1; " if "file" in inside else ""
    stranger = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", f"{shell}echo up; exec {inside.removeprefix('exec ')}"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert stranger.stdout is not None
        assert await stranger.stdout.readline() == b"up\n"
        async with asyncio.timeout(30):
            while True:  # the kernel lets go of a dead process's files a little later
                try:
                    await driver.deactivate(1)
                    break
                except ResourceError:
                    await asyncio.sleep(0.05)
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        assert (stranger.returncode is None) == (not shell)
    finally:
        if stranger.returncode is None:
            stranger.kill()
        await stranger.wait()


async def test_a_damaged_file_system_is_repaired_or_refused(
    driver: BoundDriver, device: str, tmp_path: Path, host: LinuxHost
) -> None:
    await driver.activate(permit())
    await driver.deactivate(1)
    overwrite(device, 1024, bytes(1024))  # the superblock
    with pytest.raises(ResourceError, match=r"e2fsck|cannot be mounted"):
        await driver.activate(permit(2))
    assert not is_mounted(tmp_path / "mnt")
    await driver.deactivate(2)


async def test_every_so_many_mounts_it_is_read_through(
    tmp_path: Path, device: str, host: LinuxHost
) -> None:
    driver = driver_of(resource(tmp_path, device, check="every", check_every=3), host)
    counts = []
    for epoch in range(1, 6):
        await driver.activate(permit(epoch))
        await driver.deactivate(epoch)
        counts.append((await host.disks.look(device)).mounts)
    assert counts == [1, 2, 3, 1, 2]


async def test_swap_and_lvm_and_fstab_are_refused(
    tmp_path: Path, device: str, host: LinuxHost
) -> None:
    driver = driver_of(resource(tmp_path, device), host)
    run("mkswap", device)
    with pytest.raises(ResourceError, match="it is swap space"):
        await driver.activate(permit())
    overwrite(device, 512, b"LABELONE" + bytes(16) + b"LVM2 001" + bytes(480))
    with pytest.raises(ResourceError, match="a physical volume of LVM"):
        await driver.activate(permit())


async def test_a_file_through_a_loop_device(tmp_path: Path, image: Path, host: LinuxHost) -> None:
    driver = driver_of(resource(tmp_path), host)
    await driver.activate(permit(5))
    assert (await driver.observe()).state is ResourceState.ACTIVE
    assert is_mounted(tmp_path / "mnt")
    await driver.close()
    other = driver_of(resource(tmp_path), host)
    assert (await other.observe()).epoch == 5
    await other.deactivate(5)
    assert not is_mounted(tmp_path / "mnt")


async def test_a_file_that_is_mounted_still_is_not_mounted_again(
    tmp_path: Path, image: Path, host: LinuxHost
) -> None:
    """Torn off by hand, it is in no table any more, but its user still writes to it."""
    driver = driver_of(resource(tmp_path), host)
    await driver.activate(permit(1))
    process = await user_of(HOLD, tmp_path / "mnt/file")
    run("umount", "--lazy", str(tmp_path / "mnt"))
    with pytest.raises(ResourceError, match="still in use through a loop device"):
        await driver.activate(permit(2))
    process.kill()
    await process.wait()
    async with asyncio.timeout(20):
        while not is_mounted(tmp_path / "mnt"):  # the kernel lets go a little later
            with suppress(ResourceError):
                await driver.activate(permit(2))
    await driver.deactivate(2)
    await driver.close()


async def test_a_device_that_is_not_there(tmp_path: Path, host: LinuxHost) -> None:
    driver = driver_of(resource(tmp_path, "/dev/disk/by-id/nobody"), host)
    with pytest.raises(ResourceError, match="is not there"):
        await driver.activate(permit())
    await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_a_device_without_scsi_can_not_be_reserved(
    tmp_path: Path, device: str, host: LinuxHost
) -> None:
    driver = driver_of(resource(tmp_path, device, reservation="scsi"), host)
    with pytest.raises(ResourceError, match=r"takes no SCSI commands.*reservation: none"):
        await driver.activate(permit())
    await driver.deactivate(1)
    assert not is_mounted(tmp_path / "mnt")
