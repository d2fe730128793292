"""A side on a disk that several servers see: nothing is made, the metadata lies in front."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.linux.mirrors import LinuxMirrors
from reconciler.mirror.engine import Engine
from reconciler.mirror.opening import DiskUnusable, open_disk
from reconciler.mirror.settings import SHARED_METADATA, Settings
from reconciler.ports.host import HostError

SIZE = 16 << 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    disk = tmp_path / "disk"
    with disk.open("wb") as opened:
        opened.truncate(SHARED_METADATA + SIZE)
    return Settings(
        resource="data",
        server="a",
        peer="b",
        data=str(disk),
        metadata=str(disk),
        size=SIZE,
        directory=str(tmp_path),
        boot="boot-1",
        port=7788,
        listen=(),
        peers=(),
        key_file="",
        shared=True,
    )


def test_another_server_finds_what_the_last_one_left(settings: Settings) -> None:
    first = open_disk(settings)
    first.data.write(4096, b"hello")
    first.metadata.save(floor=7)
    second = open_disk(replace(settings, boot="boot-2"))
    assert second.data.read(4096, 5) == b"hello"
    assert second.metadata.header.floor == 7
    assert Path(settings.data).read_bytes()[SHARED_METADATA + 4096 :][:5] == b"hello"


def test_the_data_begins_behind_the_metadata(settings: Settings) -> None:
    disk = open_disk(settings)
    assert disk.data.size == SIZE
    assert disk.data.used(0) is None
    disk.data.write(1 << 20, b"x" * 4096)
    found = disk.data.used(0)
    assert found is not None
    assert found[0] <= 1 << 20 < found[1] <= SIZE
    assert disk.metadata_file.size == SHARED_METADATA


def test_a_disk_that_is_not_there_is_not_made(settings: Settings, tmp_path: Path) -> None:
    gone = replace(settings, data=str(tmp_path / "other"), metadata=str(tmp_path / "other"))
    with pytest.raises(DiskUnusable, match="No such file"):
        open_disk(gone)
    assert not (tmp_path / "other").exists()


def test_a_disk_that_holds_something_else_is_left_alone(settings: Settings) -> None:
    with Path(settings.data).open("r+b") as opened:
        opened.write(b"somebody's data")
    with pytest.raises(DiskUnusable, match="unreadable or missing"):
        open_disk(settings)
    assert Path(settings.data).read_bytes()[:15] == b"somebody's data"


def test_a_disk_that_is_too_small_is_refused(settings: Settings) -> None:
    with pytest.raises(DiskUnusable, match="are needed"):
        open_disk(replace(settings, size=SIZE + 4096))


def test_the_disk_of_another_mirror_is_refused(settings: Settings) -> None:
    open_disk(settings)
    with pytest.raises(DiskUnusable, match="belongs to mirror data"):
        open_disk(replace(settings, resource="other"))


def test_an_engine_that_ends_leaves_nothing_in_the_cache(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server would write it back later, over what the next server wrote."""
    (tmp_path / "key").write_text("ab\n")
    engine = Engine(replace(settings, key_file=str(tmp_path / "key")))
    flushed: list[bool] = []
    monkeypatch.setattr(engine.disk.data, "flush", lambda: flushed.append(True))
    engine.quit = True
    engine.run()
    assert flushed


async def test_an_engine_is_gone_when_it_has_let_go_of_its_disk(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket goes first; a process that hangs in its disk holds the lock."""
    directory = tmp_path / "mirrors" / "data"
    directory.mkdir(parents=True)
    (directory / "settings.json").write_text(settings.to_json())
    mirrors = LinuxMirrors(tmp_path, None, "boot-1")
    monkeypatch.setattr("reconciler.adapters.linux.mirrors.START_TIMEOUT_S", 0.1)
    held = os.open(settings.data, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(HostError, match="does not end"):
        await mirrors.quit("data")
    os.close(held)
    await mirrors.quit("data")
    await mirrors.quit("other")
