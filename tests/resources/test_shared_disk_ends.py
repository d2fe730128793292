"""When a shared disk counts as given up, and that what was taken is what is used."""

from typing import Any

import pytest

from reconciler.binding import clear
from reconciler.ports.disks import Claim, DiskView
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.host import HostError
from specs.resource import Resource
from tests.resources.memory_host import MemoryHost
from tests.resources.places import driver_of, permit, permit_for, resource_from

DEVICE = "/dev/disk/by-id/wwn-0x6001405a3f1e22bd"
TEXT = f"""\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec: {{group: web, type: shared-disk, device: {DEVICE}, mountPoint: /srv/data}}
"""


def disk(**fields: Any) -> Resource:
    found = resource_from(TEXT)
    return found.model_copy(update={"spec": found.spec.model_copy(update=fields)})


async def test_what_is_not_known_is_not_given_up_where_nothing_else_keeps_others_out() -> None:
    """No process could be started, or the disk hangs: somebody here may write to it still."""
    host = MemoryHost()
    driver = driver_of(disk(reservation="none"), host)
    await driver.activate(permit(4))
    host.disks.problem = "it takes longer than 15 s"
    with pytest.raises(ResourceError, match="longer than 15 s"):
        await driver.deactivate(4)
    assert "data" in host.disks.noted
    host.disks.gone = True
    await driver.deactivate(4)
    assert host.disks.noted == {}


async def test_a_start_of_an_older_epoch_leaves_the_newer_one_alone() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit(9))
    with pytest.raises(ResourceError, match="held at the newer epoch 9") as refused:
        await driver.activate(permit(3))
    assert not refused.value.retry
    assert host.volumes.mounts == {"/srv/data": DEVICE}
    assert host.disks.noted["data"].epoch == 9


@pytest.mark.parametrize("valid", [0, 1], ids=["claim", "loop device"])
async def test_without_a_permit_nothing_is_begun(valid: int) -> None:
    """Of a file: neither a claim, nor a loop device, which would lock it."""
    host, begun = MemoryHost(), []
    file = disk(device=None, file="/srv/x.img", reservation="none")
    driver = driver_of(file, host)
    claim, attach = host.disks.claim, host.volumes.attach

    def claimed(resource: str, found: Claim) -> None:
        begun.append("claim")
        claim(resource, found)

    async def attached(*words: Any, **more: Any) -> str:
        begun.append("loop device")
        return await attach(*words, **more)

    host.disks.claim = claimed  # type: ignore[method-assign,assignment]
    host.volumes.attach = attached  # type: ignore[method-assign]
    with pytest.raises(PermitExpired):
        await driver.spec.activate(driver.place, permit_for(valid, 3))
    assert begun == ["claim"][:valid]
    assert host.disks.noted == {}


async def test_a_disk_in_use_stays_reserved() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.activate(permit(4))
    host.disks.view = DiskView("", taken=True, foreign=(77,))
    with pytest.raises(ResourceError, match="still in use"):
        await driver.deactivate(4)
    assert host.disks.holders == {DEVICE: ("data", 4)}


async def test_a_file_that_some_mount_still_holds_is_not_given_up() -> None:
    """Such as a copy of the mount in a container, or an unmount that writes on."""
    host = MemoryHost()
    file = disk(device=None, file="/srv/x.img", reservation="none")
    driver = driver_of(file, host)
    await driver.activate(permit(4))
    host.volumes.held.add("/srv/x.img")
    with pytest.raises(ResourceError, match="still in use through a loop device"):
        await driver.deactivate(4)
    with pytest.raises(HostError, match="still in use through a loop device"):
        await clear(host, "data", 4)
    assert "data" in host.disks.noted
    host.volumes.held.clear()
    await driver.deactivate(4)
    assert host.disks.noted == {}


async def test_a_spec_that_names_another_disk_by_now_gives_up_what_was_taken() -> None:
    host = MemoryHost()
    file = disk(device=None, file="/srv/x.img", reservation="none")
    await driver_of(file, host).activate(permit(4))
    host.disks.problem = "/srv/x.img is not a block device"
    host.volumes.held.add("/srv/x.img")
    later = driver_of(disk(reservation="none"), host)
    with pytest.raises(ResourceError, match="through a loop device"):
        await later.deactivate(4)
    host.volumes.held.clear()
    await later.deactivate(4)
    assert (host.disks.noted, host.volumes.mounts) == ({}, {})


async def test_what_no_spec_knows_is_not_given_up_while_it_is_in_use() -> None:
    host = MemoryHost()
    await driver_of(disk(), host).activate(permit(6))
    host.disks.view = DiskView("", taken=True)
    with pytest.raises(HostError, match="still in use"):
        await clear(host, "data", 6)
    assert host.disks.holders == {DEVICE: ("data", 6)}
    assert "data" in host.disks.noted


async def test_the_disk_that_was_reserved_is_the_one_that_is_mounted() -> None:
    """Its name leads to another disk between the two: nothing keeps others out of that one."""
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.prepare()
    host.disks.nodes = ["/dev/sdb", "/dev/sdc"]
    with pytest.raises(ResourceError, match="was /dev/sdb a moment ago, and is /dev/sdc now"):
        await driver.activate(permit(4))
    assert host.volumes.systems == []


async def test_a_stop_ends_what_was_taken_wherever_its_name_leads_by_now() -> None:
    host = MemoryHost()
    driver = driver_of(disk(), host)
    await driver.prepare()
    host.disks.nodes = ["/dev/sdb", "/dev/sdb"]
    await driver.activate(permit(4))
    assert host.volumes.mounts == {"/srv/data": "/dev/sdb"}
    host.volumes.mounts["/mnt"] = "/dev/sdb"
    assert (await driver.observe()).state is not ResourceState.ACTIVE
    host.disks.view = DiskView("")
    await driver.deactivate(4)
    assert host.volumes.mounts == {}
