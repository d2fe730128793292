"""Who uses a mount: never somebody who has another disk under the same name."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.adapters.linux import mount_table

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@asynccontextmanager
async def in_a_container(script: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", f"{script}; echo up; exec sleep 600"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Path]:
    directory = tmp_path / "mnt"
    directory.mkdir()
    for words in (("mount", "-t", "tmpfs", "tmpfs"), ("umount",)):
        process = await asyncio.create_subprocess_exec(*words, str(directory))
        assert await process.wait() == 0
        if words[0] == "mount":
            yield directory


async def test_the_same_name_in_a_container_is_another_disk(disk: Path) -> None:
    async with in_a_container(f"mount -t tmpfs tmpfs {disk}; cd {disk}") as other:
        assert other.pid not in list(mount_table.users(str(disk)))
        assert other.pid in list(mount_table.users(str(disk), str(other.pid)))


async def test_a_copy_of_the_mount_in_a_container_is_the_same_disk(disk: Path) -> None:
    async with in_a_container(f"cd {disk}") as other:
        assert other.pid in list(mount_table.users(str(disk)))


async def test_a_device_is_found_under_the_name_that_a_container_has_for_it(disk: Path) -> None:
    """What is mounted there under our name may be another disk."""
    number = next(line.number for line in mount_table.lines() if line.directory == str(disk))
    major, minor = (int(part) for part in number.split(":"))
    node = disk.parent / "node"
    os.mknod(node, 0o600 | 0o060000, os.makedev(major, minor))
    (disk.parent / "other").mkdir()
    script = f"mount --move {disk} {disk.parent}/other; mount -t tmpfs tmpfs {disk}"
    async with in_a_container(script) as other:
        assert mount_table.inside(other.pid, str(node)) == [str(disk.parent / "other")]
    assert mount_table.inside(other.pid, str(node)) == []
