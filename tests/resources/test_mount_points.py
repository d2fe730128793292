"""What is on a mount point and is not ours stays there; what is ours is found under any name."""

import pytest

from reconciler.ports.driver import ResourceError, ResourceState
from reconciler.resources.mirror_disk import MirrorDisk
from reconciler.resources.shared_disk import SharedDisk
from tests.resources.memory_host import MemoryHost
from tests.resources.places import driver_of, permit, resource_from

MIRROR = """
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: web
  type: mirror-disk
  file: /var/lib/data.img
  size: 256MiB
  mountPoint: /srv/data
"""
SHARED = {"group": "web", "file": "/x", "reservation": "none"}


async def test_what_is_not_of_the_mirror_is_not_torn_off_its_mount_point() -> None:
    host = MemoryHost()
    host.volumes.mounts["/srv/data"] = "/dev/sdc1"
    driver = driver_of(resource_from(MIRROR), host)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    with pytest.raises(ResourceError, match="/dev/sdc1 is mounted on /srv/data") as refused:
        await driver.activate(permit(5))
    assert not refused.value.retry
    await driver.deactivate(5)
    assert host.volumes.mounts == {"/srv/data": "/dev/sdc1"}
    assert host.records.records == {}, "nobody else was shut out for it"


async def test_somebody_elses_mount_is_not_taken_for_the_mirror() -> None:
    """Ours was unmounted by hand, and something else mounted: programs must not write to that."""
    host = MemoryHost()
    driver = driver_of(resource_from(MIRROR), host)
    await driver.activate(permit(5))
    host.volumes.mounts["/srv/data"] = "tmpfs"
    assert (await driver.observe()).state is ResourceState.PARTIAL
    with pytest.raises(ResourceError, match="tmpfs is mounted on /srv/data"):
        await driver.activate(permit(5))
    await driver.deactivate(5)
    assert host.mirrors.serving == {}
    assert host.volumes.mounts == {"/srv/data": "tmpfs"}
    await driver.close()


async def test_other_mounts_of_the_mirror_go_too_at_a_stop() -> None:
    host = MemoryHost()
    driver = driver_of(resource_from(MIRROR), host)
    await driver.activate(permit(5))
    host.volumes.mounts["/mnt"] = host.volumes.mounts["/srv/data"]
    await driver.deactivate(5)
    assert host.volumes.mounts == {}
    await driver.close()


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/etc", "/usr/", "/dev/data", "/proc/1", "/var/lib/clusterctl", "/run", "/sys/x"],
)
def test_a_file_system_does_not_hide_the_systems_own(path: str) -> None:
    with pytest.raises(ValueError, match="is the system's own"):
        SharedDisk.model_validate({**SHARED, "mountPoint": path})
    spec = {"group": "web", "file": "/x", "size": "16MiB", "mountPoint": path}
    with pytest.raises(ValueError, match="is the system's own"):
        MirrorDisk.model_validate(spec)


@pytest.mark.parametrize("path", ["/srv/data/", "//srv/data", "/srv/./data", "/srv//data"])
def test_a_mount_point_is_named_as_the_kernel_names_it(path: str) -> None:
    assert SharedDisk.model_validate({**SHARED, "mountPoint": path}).mount_point == "/srv/data"
