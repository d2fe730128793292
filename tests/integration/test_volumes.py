"""Several volumes of one file on real loop devices and ext4: where they end, who uses them, and
that only the last one grows."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.adapters.linux import loop_device
from reconciler.adapters.linux.host import LinuxHost
from reconciler.plugin import Place
from reconciler.ports.host import HostError
from reconciler.ports.volumes import FileSystem
from reconciler.resources._file_systems import DiskVolume, FileSystems
from specs.volume_layout import layout
from tests.integration.test_shared_disk import HOLD, missing
from tests.mirror.test_mirror_disk import TEXT
from tests.mirror.test_volumes import Consents
from tests.resources.places import driver_of, permit, resource_from

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "loop devices are there"),
]
MIB = 1 << 20
SIZES = [("inner", 17 * MIB + 4096), ("outer", 20 * MIB), ("last", 16 * MIB)]


@dataclass
class Disk:
    place: Place
    file: Path
    systems: FileSystems
    root: Path

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    async def mount(self, *, first: bool = False) -> None:
        await self.systems.mount(self.place, permit(), str(self.file), self.size, first=first)

    def device(self, name: str) -> str:
        at = self.root / {"inner": "outer/inner"}.get(name, name)
        return subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", at], text=True).strip()

    def is_mounted(self) -> bool:
        return any(os.path.ismount(volume.directory) for volume in self.systems.volumes)


def holding(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    extents = layout(SIZES)
    directories = [tmp_path / "outer/inner", tmp_path / "outer", tmp_path / "last"]
    volumes = tuple(
        DiskVolume(extent, str(directory), FileSystem("ext4"))
        for extent, directory in zip(extents, directories, strict=True)
    )
    file = tmp_path / "disk"
    file.touch()
    os.truncate(file, extents[-1].end)
    async with LinuxHost(tmp_path / "run") as host:
        place = replace(driver_of(resource_from(TEXT), host).place, consents=Consents())
        made = Disk(place, file, FileSystems(volumes, "first"), tmp_path)
        try:
            await made.mount(first=True)
            yield made
        finally:
            await made.systems.unmount(place, str(file), 0.0)


async def test_each_has_its_own_bytes_and_is_there_again(disk: Disk) -> None:
    for name, size in SIZES:
        assert loop_device.size_of(disk.device(name)) == size
    words = {"outer/a": "outer", "outer/inner/b": "inner", "last/c": "last"}
    for path, word in words.items():
        (disk.root / path).write_text(word)
    await disk.systems.unmount(disk.place, str(disk.file), 0.0)
    assert not disk.is_mounted()
    assert not (disk.root / "outer/inner").exists()
    await disk.mount()
    assert {path: (disk.root / path).read_text() for path in words} == words


async def test_users_of_each_are_ended(disk: Disk) -> None:
    programs = [holding(disk.root / path / "held") for path in ("outer/inner", "outer", "last")]
    try:
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"up\n"
        await disk.systems.unmount(disk.place, str(disk.file), 0.2)
        assert not disk.is_mounted()
        for program in programs:
            assert await asyncio.to_thread(program.wait, 20) != 0
    finally:
        for program in programs:
            program.kill()
            program.communicate()


async def test_the_last_one_grows_with_the_file_and_no_other(disk: Disk) -> None:
    devices = {name: disk.device(name) for name, _ in SIZES}
    (disk.root / "last/c").write_text("last")
    os.truncate(disk.file, disk.size + 16 * MIB)
    volumes, file = disk.place.host.volumes, str(disk.file)
    assert await volumes.grow_device(devices["last"], file, 32 * MIB, permit())
    assert loop_device.size_of(devices["last"]) == 32 * MIB
    with pytest.raises(HostError, match=f"has {20 * MIB} bytes"):
        await volumes.grow_device(devices["outer"], file, 21 * MIB, permit())
    assert loop_device.size_of(devices["outer"]) == 20 * MIB
    # The list still says less: the room behind is for another one.
    await disk.systems.unmount(disk.place, file, 0.0)
    await disk.mount()
    assert loop_device.size_of(disk.device("last")) == 16 * MIB
