"""What is special about shared disks: names that are refused, and who else uses the disk."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from reconciler.binding import BoundDriver, clear, leftovers
from reconciler.ports.disks import Claim, ConsentRefused, DiskView
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.host import HostError
from reconciler.resources.shared_disk import SharedDisk
from specs.resource import Resource
from tests.resources.memory_host import MemoryHost
from tests.resources.places import Recorder, driver_of, expired, permit, resource_from

DEVICE = "/dev/disk/by-id/wwn-0x6001405a3f1e22bd"
BASE = {"group": "web", "device": DEVICE, "mountPoint": "/srv/data"}


def spec(**fields: Any) -> SharedDisk:
    return SharedDisk.model_validate({k: v for k, v in {**BASE, **fields}.items() if v is not None})


def disk(**fields: Any) -> Resource:
    found = resource_from(
        "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: data}\n"
        f"spec: {{group: web, type: shared-disk, device: {DEVICE}, mountPoint: /srv/data}}\n"
    )
    return found.model_copy(update={"spec": spec(**fields)})


@pytest.mark.parametrize(
    "name",
    ["/dev/sdb", "/dev/sdb1", "/dev/nvme0n1p1", "/dev/vdb", "/dev/dm-3", "/dev/mapper/mpatha",
     "/dev/disk/by-path/pci-0", "/dev/disk/by-diskseq/7", "/dev/block/8:16", "/dev/loop3"],
)  # fmt: skip
def test_a_name_that_may_be_another_disk_tomorrow_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="may name another disk after a restart"):
        spec(device=name)
    assert spec(device=name, allowUnstableName=True).disk == name


@pytest.mark.parametrize(
    "name",
    [DEVICE, "/dev/disk/by-uuid/1-2", "/dev/disk/by-partuuid/a", "/dev/vg0/data",
     "/dev/mapper/vg0-data", "/dev/mapper/36001405a3f1e22bd"],
)  # fmt: skip
def test_a_name_that_stays_is_accepted(name: str) -> None:
    assert spec(device=name).disk == name


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file": "/srv/a"}, "either device or file"),
        ({"device": None}, "either device or file"),
        ({"mountPoint": None}, "needs a mountPoint"),
        ({"fileSystem": "none"}, "has none"),
        ({"mountPoint": "srv"}, "not an absolute path"),
        ({"mountPoint": "/srv/../etc"}, "not an absolute path"),
        ({"mountOptions": "a b"}, "without spaces"),
        ({"device": None, "file": "/srv/a"}, "can't be reserved"),
        (
            {"device": None, "file": "/a", "mountPoint": None, "fileSystem": "none"},
            "only be used with a file system",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec(**fields)


def test_only_a_reservation_lets_a_group_accept_time_as_a_proof() -> None:
    assert not spec().one_writer
    assert spec(reservation="none").one_writer


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (DiskView("", ("line 3 of /etc/fstab mounts it",)), "line 3 of /etc/fstab"),
        (DiskView("", ("it is part of dm-0",)), "part of dm-0"),
        (DiskView("", taken=True), "in use on this server by somebody else"),
    ],
)
async def test_a_disk_that_this_server_uses_otherwise_is_refused(
    view: DiskView, words: str
) -> None:
    host = MemoryHost()
    host.disks.view = view
    with pytest.raises(ResourceError, match=words):
        await driver_of(disk(), host).activate(permit())
    assert host.traces() == ()


async def test_a_mount_by_hand_is_not_taken_over_and_not_left_at_a_stop() -> None:
    host = MemoryHost()
    host.volumes.mounts["/mnt"] = DEVICE
    driver = driver_of(disk(), host)
    assert (await driver.observe()).state is ResourceState.PARTIAL
    with pytest.raises(ResourceError, match="mounted on /mnt by somebody else"):
        await driver.activate(permit())
    await driver.deactivate(1)
    assert host.volumes.mounts == {}


async def test_another_file_system_on_the_mount_point_is_left_alone() -> None:
    host = MemoryHost()
    host.volumes.mounts["/srv/data"] = "tmpfs"
    driver = driver_of(disk(), host)
    with pytest.raises(ResourceError, match="tmpfs is mounted on /srv/data"):
        await driver.activate(permit())
    await driver.deactivate(1)
    assert host.volumes.mounts == {"/srv/data": "tmpfs"}


async def test_nothing_is_mounted_before_the_disk_is_reserved() -> None:
    host = MemoryHost()
    host.disks.holders[DEVICE] = ("data", 9)
    with pytest.raises(ResourceError, match="newer epoch"):
        await driver_of(disk(), host).activate(permit(3))
    assert host.volumes.systems == []


async def test_a_lost_reservation_and_a_read_only_file_system_are_failures() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit(4))
    assert (await driver.observe()).state is ResourceState.ACTIVE
    host.volumes.read_only = True
    assert "read-only" in (await driver.observe()).reason
    host.volumes.read_only = False
    host.disks.holders[DEVICE] = ("data", 5)
    found = await driver.observe()
    assert (found.state, found.reason) == (ResourceState.FAILED, "its reservation is gone")
    await driver.deactivate(4)
    assert host.disks.holders == {DEVICE: ("data", 5)}, "the new owner's reservation stays"


async def test_a_second_mount_by_hand_is_noticed() -> None:
    host = MemoryHost()
    driver = driver_of(disk(reservation="none"), host)
    await driver.activate(permit())
    assert "only fencing" in (await driver.observe()).reason
    host.volumes.mounts["/mnt"] = DEVICE
    assert "it is mounted on /mnt, too" in (await driver.observe()).reason
    await driver.deactivate(1)
    assert host.traces() == ()


async def test_a_disk_that_somebody_keeps_open_is_not_stopped() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit())
    host.disks.view = DiskView("", taken=True, foreign=(77,))
    with pytest.raises(ResourceError, match=r"still in use on this server \(processes 77\)"):
        await driver.deactivate(1)
    assert "data" in host.disks.noted


async def test_a_disk_that_is_gone_is_unmounted_all_the_same() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit())
    host.disks.problem = "it is not there"
    await driver.deactivate(1)
    assert host.volumes.mounts == {}
    recorder = driver.place.events
    assert isinstance(recorder, Recorder)
    assert recorder.events[-1][0] == "disk_not_released"


@pytest.mark.parametrize(
    ("check", "mounts", "wanted"),
    [
        ("never", 99, "never"),
        ("always", 99, "always"),
        ("every", 9, "never"),
        ("every", 10, "full"),
        ("every", None, "never"),
    ],
)
async def test_how_it_is_checked(check: str, mounts: int | None, wanted: str) -> None:
    host = MemoryHost()
    host.disks.view = DiskView("", mounts=mounts)
    await driver_of(disk(check=check), host).activate(permit())
    (system,) = host.volumes.systems
    assert (system.check, system.repair) == (wanted, True)


async def test_mounts_of_others_do_not_wake_it() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit())
    woken = asyncio.ensure_future(driver.place.host.volumes.changed())
    changed = asyncio.ensure_future(driver.spec.changed(driver.place))
    for _ in range(20):
        await asyncio.sleep(0)
    host.volumes.mounts["/media"] = "/dev/sr0"
    host.volumes.changes.tell()
    await woken
    for _ in range(20):
        await asyncio.sleep(0)
    assert not changed.done()
    host.wipe()
    await asyncio.wait_for(changed, 5)
    await driver.close()


async def test_without_a_file_system_the_claim_is_all() -> None:
    host = MemoryHost()
    driver = driver_of(disk(fileSystem="none", mountPoint=None), host)
    await driver.activate(permit(2))
    assert host.volumes.mounts == {}
    found = await driver.observe()
    assert (found.state, found.epoch) == (ResourceState.ACTIVE, 2)
    with pytest.raises(PermitExpired):
        await driver.activate(expired(3))
    await driver.deactivate(2)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    assert host.traces() == ()


async def test_what_no_spec_knows_any_more_is_unmounted() -> None:
    host = MemoryHost()
    await driver_of(disk(), host).activate(permit(6))
    assert await leftovers(host) == {"data": 6}
    await clear(host, "data", 5)
    assert host.volumes.mounts
    await clear(host, "data", 6)
    assert host.traces() == ()
    assert host.disks.noted == {}


async def test_a_claim_that_cannot_be_read_is_not_nothing() -> None:
    host = MemoryHost()

    def unreadable() -> dict[str, Claim]:
        raise HostError("what is mounted here is not known")

    host.disks.claims = unreadable  # type: ignore[method-assign]
    assert (await driver_of(disk(), host).observe()).state is ResourceState.UNKNOWN


class OneConsent:
    """Good for one time, or never."""

    def __init__(self, used: bool = False) -> None:
        self.used = [("data", "yes")] if used else []

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:
        await asyncio.sleep(0)
        if (resource, consent) in self.used:
            raise ConsentRefused("it was used before")
        self.used.append((resource, consent))


def _with_consents(host: MemoryHost, consents: OneConsent, **fields: Any) -> BoundDriver:
    driver = driver_of(disk(**fields), host)
    driver.place = replace(driver.place, consents=consents)
    return driver


async def test_a_blank_disk_is_formatted_once_and_only_with_consent() -> None:
    host, consents = MemoryHost(), OneConsent()
    await _with_consents(host, consents).activate(permit(1))
    assert host.volumes.made == []
    driver = _with_consents(host, consents, formatConsent="yes")
    await driver.activate(permit(2))
    assert len(host.volumes.made) == 1
    assert isinstance(driver.place.events, Recorder)
    assert "disk_formatted" in [name for name, _ in driver.place.events.events]


async def test_a_used_consent_formats_no_second_disk() -> None:
    """Such as a blank one that an array shows in the place of the first."""
    host = MemoryHost()
    driver = _with_consents(host, OneConsent(used=True), formatConsent="yes")
    with pytest.raises(ResourceError, match="is blank: it was used before"):
        await driver.activate(permit(2))
    assert (host.volumes.made, host.volumes.mounts) == ([], {})


async def test_what_holds_anything_is_never_formatted() -> None:
    host, consents = MemoryHost(), OneConsent()
    host.volumes.made.append(DEVICE)
    driver = _with_consents(host, consents, formatConsent="yes")
    await driver.activate(permit(2))
    assert (host.volumes.made, consents.used) == ([DEVICE], [])


async def test_several_paths_are_counted() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit())
    assert (await driver.observe()).reason == ""
    host.disks.seen_paths = (1, 2)
    found = await driver.observe()
    assert (found.state, found.reason) == (ResourceState.ACTIVE, "1 of 2 paths")
