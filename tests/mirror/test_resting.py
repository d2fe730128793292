"""What is read from a shared disk that no engine has, and that nothing of it changes."""

# ruff: noqa: ASYNC240 - nothing else runs in these loops

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from reconciler.adapters.linux.disks import LinuxDisks
from reconciler.disks import __main__ as program
from reconciler.mirror import resting
from reconciler.mirror.blockfile import OsBlockFile
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Metadata, MetadataDamaged
from reconciler.mirror.settings import SHARED_METADATA
from reconciler.ports.disks import RestingMirror
from reconciler.ports.host import HostError

SIZE = 16 << 20
HEADER = Header("data", SIZE, "g1", fresh=False)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as opened:
        opened.truncate(SHARED_METADATA + SIZE)
    return path


def made(disk: Path) -> Metadata:
    file, _ = OsBlockFile.split(disk, SHARED_METADATA)
    return Metadata.format(file, HEADER)


async def test_the_newest_header_and_what_the_other_side_lacks(disk: Path, tmp_path: Path) -> None:
    metadata = made(disk)
    metadata.save(current="g2")
    metadata.dirty.add(range(3, 5))
    metadata.save_bitmap()
    metadata.touch(4 << 20, 4096)
    before = disk.read_bytes()
    wanted = replace(HEADER, current="g2")
    lacking = (2 + 64) << 16  # two blocks, and the extent that was written last
    assert resting.look(disk) == (wanted, lacking)
    assert await LinuxDisks(tmp_path).resting_mirror(str(disk)) == RestingMirror(wanted, lacking)
    assert disk.read_bytes() == before


async def test_a_disk_without_a_mirror_is_told_in_one_sentence(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(MetadataDamaged):
        resting.look(disk)
    with pytest.raises(HostError, match="metadata are unreadable or missing"):
        await LinuxDisks(tmp_path).resting_mirror(str(disk))
    with pytest.raises(HostError, match="No such file"):
        await LinuxDisks(tmp_path).resting_mirror(str(disk) + "x")


def test_the_program_says_it_in_json(disk: Path) -> None:
    made(disk)
    said = StringIO()
    with redirect_stdout(said):
        program.main(["mirror", str(disk)])
    assert json.loads(said.getvalue()) == {"header": HEADER.to_json() | _lists(), "to_copy": 0}


def _lists() -> dict[str, list[str]]:
    return {"pending": [], "bases": [], "history": []}
