"""The driver of a mirrored disk lets it grow: in which order, and what it waits for."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.linux.growth import file_system_size
from reconciler.adapters.linux.mirrors import _differ_in_size_only
from reconciler.binding import BoundDriver
from reconciler.mirror.bitmap import Bitmap
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata
from reconciler.mirror.opening import open_disk
from reconciler.mirror.secondary import Secondary
from reconciler.mirror.settings import SHARED_METADATA, Settings
from reconciler.mirror.side import Disk, grow
from reconciler.mirror.wire import Message, Op, to_json
from reconciler.resources import _growing
from reconciler.resources._file_systems import FileSystems
from reconciler.resources.mirror_disk import MirrorDisk
from tests.mirror.recording import Recording
from tests.mirror.test_mirror_disk import TEXT
from tests.resources.memory_host import MemoryHost
from tests.resources.places import driver_of, expired, permit, resource_from

OLD, NEW = 256 << 20, 512 << 20


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> MemoryHost:
    monkeypatch.setattr(_growing, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(_growing, "AGAIN_S", 0.01)
    monkeypatch.setattr(_growing, "PATIENCE_S", 0.05)
    return MemoryHost()


async def running(host: MemoryHost, **details: object) -> BoundDriver:
    """Active with the old size, then adopted by a driver of the new one."""
    old = driver_of(resource_from(TEXT), host)
    await old.activate(permit(5))
    await old.close()
    host.volumes.grown.clear()
    host.mirrors.details = dict(details)
    new = driver_of(resource_from(TEXT.replace("256MiB", "512MiB")), host)
    await new.activate(permit(5))
    return new


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what the driver changes tells nobody
            await asyncio.sleep(0.01)


def told(driver: BoundDriver) -> list[str]:
    return [name for name, _ in driver.place.events.events]  # type: ignore[attr-defined]


def reasons(driver: BoundDriver) -> list[str]:
    events = driver.place.events.events  # type: ignore[attr-defined]
    return [fields["reason"] for name, fields in events if name == "mirror_growth_waits"]


async def test_it_grows_while_it_is_used_once_the_other_side_has(host: MemoryHost) -> None:
    driver = await running(host, connected=True, peer_size=OLD)
    await until(lambda: bool(reasons(driver)))
    assert reasons(driver) == ["n2 has 256MiB yet, not 512MiB"]
    assert host.mirrors.headers["data"].size == OLD
    host.mirrors.details["peer_size"] = NEW
    await until(lambda: ("/srv/data", NEW) in host.volumes.grown)
    assert host.mirrors.headers["data"].size == NEW
    assert told(driver)[-2:] == ["mirror_device_grown", "mirror_file_system_grown"]
    assert list(host.volumes.mounts) == ["/srv/data"]
    await driver.close()


async def test_it_grows_while_the_other_side_is_away(host: MemoryHost) -> None:
    driver = await running(host, connected=False, peer_size=0)
    await until(lambda: ("/srv/data", NEW) in host.volumes.grown)
    await driver.close()


async def test_what_another_owner_began_is_finished_after_a_failover(host: MemoryHost) -> None:
    driver = await running(host, connected=True, peer_size=NEW)
    host.volumes.growth_fails = "resize2fs: no"
    await until(lambda: bool(reasons(driver)))
    await driver.close()
    host.volumes.growth_fails = ""
    await driver.activate(permit(5))
    await until(lambda: ("/srv/data", NEW) in host.volumes.grown)
    await driver.close()


async def test_a_step_that_fails_is_told_once_and_tried_again(host: MemoryHost) -> None:
    driver = await running(host, connected=True, peer_size=NEW)
    host.volumes.growth_fails = "resize2fs: no"
    await until(lambda: reasons(driver) == ["resize2fs: no"])
    host.volumes.growth_fails = ""
    await until(lambda: ("/srv/data", NEW) in host.volumes.grown)
    await driver.close()


async def test_an_epoch_that_is_over_grows_nothing(host: MemoryHost) -> None:
    driver = await running(host, connected=True, peer_size=OLD)
    await driver.close()
    host.mirrors.details["peer_size"] = NEW
    spec = driver.spec
    assert isinstance(spec, MirrorDisk)
    systems = FileSystems(spec.disk_volumes())
    growing = _growing.Growing(driver.place, expired(5), spec._plan, systems)
    await growing.look()
    assert host.mirrors.headers["data"].size == OLD
    assert not host.volumes.grown
    growing.permit = permit(5)
    await growing.look()
    assert host.mirrors.headers["data"].size == NEW


async def test_the_side_that_follows_grows_by_itself(host: MemoryHost) -> None:
    old = driver_of(resource_from(TEXT), host)
    await old.prepare()
    new = driver_of(resource_from(TEXT.replace("256MiB", "512MiB")), host)
    task = asyncio.create_task(new.spec.follow(new.place))
    await until(lambda: host.mirrors.headers["data"].size == NEW)
    task.cancel()


def test_another_size_is_no_reason_to_start_an_engine_anew() -> None:
    assert _differ_in_size_only('{"size": 1, "port": 2}', '{"size": 2, "port": 2}')
    assert not _differ_in_size_only('{"size": 1, "port": 3}', '{"size": 2, "port": 2}')
    assert not _differ_in_size_only(None, '{"size": 2, "port": 2}')


def test_a_file_system_that_is_none_has_no_size(tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(1 << 17))
    for kind in ("ext4", "xfs", "btrfs", "raw"):
        assert file_system_size(blank, kind) == 0
    blank.write_bytes(b"XFSB")
    assert file_system_size(blank, "xfs") == 0


def test_a_disk_that_several_servers_see_grows_behind_its_metadata(tmp_path: Path) -> None:
    path, old, new = tmp_path / "disk", 4 << 20, 8 << 20
    path.write_bytes(bytes(SHARED_METADATA) + bytes(old) + b"left" * (1 << 20))
    settings = Settings(
        resource="md",
        server="left",
        peer="right",
        data=str(path),
        metadata=str(path),
        size=old,
        directory=str(tmp_path),
        boot="b",
        port=1,
        listen=(),
        peers=(),
        key_file="",
        shared=True,
    )
    disk = open_disk(settings)
    disk.data.write(old - 4, b"last")
    assert grow(disk, new)
    assert not grow(disk, new)
    assert disk.data.read(old - 4, 8) == b"last\0\0\0\0"
    with pytest.raises(OSError, match=r"large|bytes"):
        grow(disk, 1 << 50)
    found = open_disk(settings)
    assert (found.metadata.header.size, found.metadata.dirty.count) == (new, 0)
    assert found.data.size == new


def test_what_a_smaller_owner_did_not_copy_stays_different() -> None:
    """A following side has grown, the one that serves has not yet."""
    old, new = 1 << 20, 2 << 20
    data, file = Recording(bytearray(old)), Recording(bytearray(Geometry().file_size(old)))
    disk = Disk(data, Metadata.format(file, Header("md", old, "g1")), "b", file)
    data.content.extend(b"x" * (new - old))  # a device: larger than the mirror, and not blank

    def device(size: int) -> None:
        """It is as large as it is."""

    data.resize = device  # type: ignore[method-assign]
    assert grow(disk, new)
    assert set(disk.metadata.dirty) == set(range(16, 32))
    session = Secondary(disk, 1, "a", old)
    begin = {"generation": "g2", "inconsistent": True, "order_kept": False}
    for op, content in ((Op.BEGIN, begin), (Op.END, {"generation": "g2"})):
        assert session.apply(Message(op, memoryview(to_json(content)), 0, 1))
    assert set(Metadata.open(file).dirty) == set(range(16, 32))
    larger = Secondary(disk, 1, "a", new)
    for op, content in ((Op.BEGIN, begin), (Op.END, {"generation": "g2"})):
        assert larger.apply(Message(op, memoryview(to_json(content)), 0, 1))
    assert not Metadata.open(file).dirty.count


@given(st.integers(1, 200), st.data())
def test_runs_of_bits_are_set_and_unset_as_single_ones_are(
    length: int, data: st.DataObject
) -> None:
    first, end = sorted(data.draw(st.tuples(*[st.integers(0, length)] * 2)))
    bits = data.draw(st.sets(st.integers(0, length - 1)))
    found = Bitmap(length)
    found.add(bits)
    found.add_run(first, end)
    assert set(found) == bits | set(range(first, end))
    assert found.count == len(set(found))
    found.clear_below(end)
    assert set(found) == {bit for bit in bits if bit >= end}
    assert found.count == len(set(found))
