"""A side on a file or device of its own: what is made, and what must never be made anew."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux import loop_device
from reconciler.mirror import opening
from reconciler.mirror.blockfile import OsBlockFile
from reconciler.mirror.opening import DiskUnusable, open_disk
from reconciler.mirror.settings import Settings

SIZE = 16 << 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        resource="data",
        server="a",
        peer="b",
        data=str(tmp_path / "data.img"),
        metadata=str(tmp_path / "data.mirror"),
        size=SIZE,
        directory=str(tmp_path),
        boot="boot-1",
        port=7788,
        listen=(),
        peers=(),
        key_file="",
    )


def test_the_first_start_makes_both_and_the_next_one_finds_them(settings: Settings) -> None:
    first = open_disk(settings)
    first.data.write(4096, b"hello")
    assert first.metadata.header.fresh
    assert open_disk(settings).data.read(4096, 5) == b"hello"


def test_data_that_is_gone_is_not_made_anew_below_metadata_that_calls_it_current(
    settings: Settings,
) -> None:
    """Its disk is not mounted, or not there yet: zeros must not be served as the current data."""
    open_disk(settings).metadata.save(floor=7, fresh=False)
    Path(settings.data).unlink()
    with pytest.raises(DiskUnusable, match=r"data\.img is not there, but its mirror was built"):
        open_disk(settings)
    assert not Path(settings.data).exists()


def test_data_that_was_cut_is_not_filled_with_zeros(settings: Settings) -> None:
    open_disk(settings)
    with Path(settings.data).open("r+b") as opened:
        opened.truncate(SIZE - 4096)
    with pytest.raises(DiskUnusable, match=f"has {SIZE - 4096} bytes, its mirror {SIZE}"):
        open_disk(settings)


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_device_belongs_to_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mounted from it here would be written beside the mirror."""
    monkeypatch.setattr(opening, "CLAIM_TRIES", 1)
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", SIZE)
    device, held = loop_device.attach(str(tmp_path / "disk"))
    other = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(DiskUnusable, match="in use on this server"):
            open_disk(replace(settings, data=device))
    finally:
        os.close(other)
    disk = open_disk(replace(settings, data=device))
    with pytest.raises(OSError, match="busy"):
        os.open(device, os.O_RDONLY | os.O_EXCL)
    for descriptor in (opening.claims.pop(), held):
        os.close(descriptor)
    assert disk.data.size == SIZE
    for file in (disk.data, disk.metadata_file):
        assert isinstance(file, OsBlockFile)
        file.close()


@pytest.mark.parametrize("name", ["data", "metadata"])
def test_no_device_is_made_of_memory(
    settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in /dev would take acknowledged writes, and lose them with the power."""
    monkeypatch.setattr(opening, "DEVICES", f"{tmp_path}/dev/")
    (tmp_path / "dev").mkdir()
    path = tmp_path / "dev/disk"
    changes: dict[str, Any] = {name: str(path)}
    with pytest.raises(DiskUnusable, match="dev/disk is not there"):
        open_disk(replace(settings, **changes))
    assert not path.exists()
