"""A mirrored disk with several volumes: in which order they are mounted, and which of them get a
file system."""

import asyncio
from dataclasses import replace

import pytest

from reconciler.binding import BoundDriver
from reconciler.ports.disks import ConsentRefused
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.host import HostError
from reconciler.resources import _growing
from reconciler.resources._file_systems import FileSystems
from reconciler.resources.mirror_disk import MirrorDisk
from specs.errors import SpecErrors
from tests.resources.memory_host import MemoryHost
from tests.resources.places import Recorder, driver_of, permit, permit_for, resource_from

TEXT = """
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: web
  type: mirror-disk
  mode: async
  file: /var/lib/data.img
  mountOptions: noatime
  volumes:
    - {name: wal, size: 16MiB, mountPoint: /srv/db/data/wal}
    - {name: data, size: 20484KiB, mountPoint: /srv/db/data, fileSystem: xfs, mountOptions: ""}
    - {name: other, size: 32MiB, mountPoint: /srv/other, check: never}
"""
MIB = 1 << 20
DATA, WAL, OTHER = "/srv/db/data", "/srv/db/data/wal", "/srv/other"


class Consents:
    """Each word is good once; the store may be away."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.away = False

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ConsentRefused("the store does not answer")
        if consent in self.used:
            raise ConsentRefused("it was used before")
        self.used.append(consent)


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
def consents() -> Consents:
    return Consents()


def driver_with(
    host: MemoryHost, consents: Consents, word: str | None = None, text: str = TEXT
) -> BoundDriver:
    driver = driver_of(resource_from(text), host, format_consent=word)
    driver.place = replace(driver.place, consents=consents)
    return driver


@pytest.fixture
def driver(host: MemoryHost, consents: Consents) -> BoundDriver:
    return driver_with(host, consents)


async def test_each_is_its_part_of_the_disk_and_parents_are_mounted_first(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    found = await driver.observe()
    await driver.close()
    assert found.state is ResourceState.ACTIVE
    behind = -(-(16 * MIB + 20484 * 1024) // MIB) * MIB
    file = "/dev/loop-of/run/data"
    assert list(host.volumes.mounts.items()) == [
        (OTHER, f"{file}+{behind}"),
        (DATA, f"{file}+{16 * MIB}"),
        (WAL, file),
    ]
    systems = [(one.kind, one.options, one.check) for one in host.volumes.systems]
    assert systems == [
        ("ext4", "noatime", "never"),
        ("xfs", "", "always"),
        ("ext4", "noatime", "always"),
    ]
    assert host.mirrors.headers["data"].size == behind + 32 * MIB


async def test_they_are_unmounted_in_reverse(
    driver: BoundDriver, host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    unmount = host.volumes.unmount

    async def noted(directory: str, grace_s: float) -> None:
        gone.append(directory)
        await unmount(directory, grace_s)

    await driver.activate(permit(5))
    monkeypatch.setattr(host.volumes, "unmount", noted)
    await driver.deactivate(5)
    assert gone == [WAL, DATA, OTHER]
    assert host.traces() == ()


async def test_one_that_is_missing_is_told_and_mounted_again(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    await host.volumes.unmount(OTHER, 0)
    found = await driver.observe()
    assert (found.state, found.reason) == (ResourceState.PARTIAL, "not mounted: other")
    await driver.activate(permit(5))
    await driver.close()
    assert (await driver.observe()).state is ResourceState.ACTIVE
    assert len(host.volumes.systems) == 4


async def test_what_a_new_mount_would_hide_is_mounted_anew(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    await host.volumes.unmount(DATA, 0)
    await driver.activate(permit(5))
    await driver.close()
    assert list(host.volumes.mounts) == [OTHER, DATA, WAL]
    assert len(host.volumes.systems) == 5


@pytest.mark.parametrize("checks", range(1, 30))
async def test_a_permit_that_ends_in_between_leaves_nothing(host: MemoryHost, checks: int) -> None:
    driver = driver_with(host, Consents(), "yes")
    try:
        await driver.activate(permit_for(checks, 5))
    except PermitExpired:
        assert host.volumes.mounts == {}
        assert host.mirrors.serving == {}
    else:
        assert len(host.volumes.mounts) == 3
    await driver.close()


async def test_one_that_cannot_be_mounted_is_named(
    driver: BoundDriver, host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = host.volumes.mount

    async def refused(device: str, directory: str, *rest: object) -> None:
        if directory == WAL:
            raise HostError("wrong fs type")
        await mount(device, directory, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(host.volumes, "mount", refused)
    with pytest.raises(ResourceError, match="volume wal: wrong fs type"):
        await driver.activate(permit(5))
    await driver.deactivate(5)
    assert host.traces() == ()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_growing, "PLACE_PAUSE_S", 0.001)
    monkeypatch.setattr(_growing, "LOOK_EVERY_S", 0.01)


MORE = TEXT + "    - {name: more, size: 16MiB, mountPoint: /srv/more}\n"
LARGER = TEXT.replace("32MiB", "48MiB")


async def stopped(host: MemoryHost, consents: Consents) -> int:
    """It was active once; its size then."""
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(5))
    await driver.deactivate(5)
    return host.mirrors.headers["data"].size


@pytest.mark.usefixtures("no_pause")
async def test_one_that_was_added_gets_its_place_before_it_is_mounted(
    host: MemoryHost, consents: Consents
) -> None:
    behind = await stopped(host, consents)
    driver = driver_with(host, consents, "more", MORE)
    await driver.activate(permit(6))
    await driver.close()
    assert host.mirrors.headers["data"].size == behind + 16 * MIB
    assert host.volumes.mounts["/srv/more"] == f"/dev/loop-of/run/data+{behind}"
    assert host.volumes.made[-1] == f"/dev/loop-of/run/data+{behind}"


@pytest.mark.usefixtures("no_pause")
async def test_without_a_place_for_the_new_one_nothing_is_mounted_by_halves(
    host: MemoryHost, consents: Consents
) -> None:
    behind = await stopped(host, consents)
    host.mirrors.details = {"connected": True, "peer_size": behind}
    driver = driver_with(host, consents, "more", MORE)
    with pytest.raises(ResourceError, match=f"volume more begins at byte {behind}, the mirror has"):
        await driver.activate(permit(6))
    assert host.volumes.mounts == {}
    assert isinstance(driver.place.events, Recorder)
    told = [more["reason"] for name, more in driver.place.events.events if "waits" in name]
    assert len(told) == 1
    assert "n2 has" in told[0]


@pytest.mark.usefixtures("no_pause")
async def test_one_that_cannot_grow_yet_is_used_as_it_is(
    host: MemoryHost, consents: Consents
) -> None:
    behind = await stopped(host, consents)
    host.mirrors.details = {"connected": True, "peer_size": behind}
    driver = driver_with(host, consents, "first", LARGER)
    await driver.activate(permit(6))
    assert len(host.volumes.mounts) == 3
    host.mirrors.details["peer_size"] = behind + 16 * MIB
    async with asyncio.timeout(20):
        while (OTHER, 48 * MIB) not in host.volumes.grown:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    await driver.close()
    assert {directory for directory, _ in host.volumes.grown} == {OTHER}


@pytest.mark.usefixtures("no_pause")
async def test_only_what_ends_with_the_disk_has_no_limit_and_grows(
    host: MemoryHost, consents: Consents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a device would take what belongs to the next volume."""
    limits: dict[int, int] = {}
    attach = host.volumes.attach

    async def noted(file: str, *, alone: bool = False, offset: int = 0, size: int = 0) -> str:
        limits[offset] = size
        return await attach(file, alone=alone, offset=offset, size=size)

    monkeypatch.setattr(host.volumes, "attach", noted)
    behind = await stopped(host, consents)
    last = behind - 32 * MIB
    assert limits == {0: 16 * MIB, 16 * MIB: 20484 << 10, last: 0}
    # The disk is larger than this list, and a device from before it was: its end is another's.
    host.mirrors.headers["data"] = replace(host.mirrors.headers["data"], size=behind + 16 * MIB)
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(6))
    assert limits[last] == 32 * MIB
    assert isinstance(driver.spec, MirrorDisk)
    systems = FileSystems(driver.spec.disk_volumes())
    host.volumes.grown.clear()
    await _growing.Growing(driver.place, permit(6), driver.spec._plan, systems).look()
    await driver.close()
    assert host.volumes.grown == []


async def test_the_first_start_makes_them_all_with_one_consent(
    host: MemoryHost, consents: Consents
) -> None:
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(5))
    await driver.close()
    assert (len(host.volumes.made), consents.used) == (3, ["first"])
    assert isinstance(driver.place.events, Recorder)
    told = [more["volume"] for name, more in driver.place.events.events if "formatted" in name]
    assert told == ["other", "data", "wal"]


async def test_a_used_consent_makes_no_second_file_system(
    host: MemoryHost, consents: Consents
) -> None:
    """A disk that became blank by an accident would be made empty on the other side, too."""
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(5))
    await driver.deactivate(5)
    host.volumes.made.clear()
    with pytest.raises(ResourceError, match="volume other is blank: it was used before"):
        await driver.activate(permit(6))
    assert (host.volumes.made, host.volumes.mounts) == ([], {})


async def test_the_first_start_uses_the_consent_up_although_nothing_is_blank(
    host: MemoryHost, consents: Consents, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(device: str) -> bool:
        return False

    monkeypatch.setattr(host.volumes, "is_blank", never)
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(5))
    await driver.close()
    assert (host.volumes.made, consents.used) == ([], ["first"])


async def test_one_that_was_added_is_made_with_a_new_consent(
    host: MemoryHost, consents: Consents
) -> None:
    driver = driver_with(host, consents, "first")
    await driver.activate(permit(5))
    await driver.deactivate(5)
    added = host.volumes.made.pop(0)
    again = driver_with(host, consents, "more")
    await again.activate(permit(6))
    await again.close()
    assert (host.volumes.made[-1], consents.used) == (added, ["first", "more"])
    assert len(host.volumes.made) == 3


async def test_nothing_is_made_while_the_store_is_away(
    host: MemoryHost, consents: Consents
) -> None:
    consents.away = True
    driver = driver_with(host, consents, "first")
    with pytest.raises(ResourceError, match="the store does not answer"):
        await driver.activate(permit(5))
    assert (host.volumes.made, host.volumes.mounts) == ([], {})


async def test_a_dead_engine_under_one_of_them_is_a_failure(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    host.mirrors.serving.clear()
    await host.volumes.unmount(DATA, 0)
    assert (await driver.observe()).state is ResourceState.FAILED
    await driver.deactivate(5)
    assert host.traces() == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  mountOptions", "  mountPoint: /srv/x\n  mountOptions", "either mountPoint"),
        ("  mode: async", "  engine: drbd", "engine drbd has no volumes"),
        ("16MiB", "16777217B", "multiple of 4096"),
        ("16MiB", "1MiB", "at least 16MiB"),
        ("name: wal, ", "", "name"),
    ],
)
def test_specs_that_say_too_much_or_too_little_are_refused(
    old: str, new: str, message: str
) -> None:
    with pytest.raises(SpecErrors, match=message):
        resource_from(TEXT.replace(old, new, 1))


def test_a_disk_has_a_size_or_volumes() -> None:
    bare = TEXT.split("  volumes:")[0]
    with pytest.raises(SpecErrors, match="either mountPoint"):
        resource_from(bare)
    with pytest.raises(SpecErrors, match="give the size"):
        resource_from(f"{bare}  mountPoint: /srv/x\n")
