"""Both roles of a hybrid disk on one server: who has the disk, its engine and its reservation."""

from typing import Any

import pytest

from reconciler.binding import BoundDriver, clear, leftovers
from reconciler.ports.disks import DiskView
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.host import HostError
from reconciler.resources.hybrid_disk import HybridDisk
from specs.document import Metadata
from specs.resource import Resource
from tests.resources.memory_host import MemoryHost
from tests.resources.places import driver_of, permit, permit_for, resource_from

DEVICE, OTHER = "/dev/disk/by-id/wwn-0x1", "/dev/disk/by-id/wwn-0x2"
TEXT = f"""
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec:
  group: web
  type: hybrid-disk
  sides:
    - {{serverGroup: left, device: {DEVICE}}}
    - {{serverGroup: right, device: {OTHER}}}
  size: 16MiB
  mountPoint: /srv/data
  formatConsent: first-build
"""


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
def serving(host: MemoryHost) -> BoundDriver:
    return driver_of(resource_from(TEXT), host)


@pytest.fixture
def following(host: MemoryHost) -> BoundDriver:
    main = resource_from(TEXT)
    spec = main.spec.following("data")
    assert spec is not None
    return driver_of(Resource(metadata=Metadata(name="data-standby"), spec=spec), host)


def spec(**fields: Any) -> HybridDisk:
    found = resource_from(TEXT).spec.to_json()
    return HybridDisk.model_validate({**found, **fields})


def holder(host: MemoryHost) -> tuple[str, int] | None:
    return host.disks.holders.get(DEVICE)


async def state(driver: BoundDriver) -> ResourceState:
    return (await driver.observe()).state


async def test_the_owner_reserves_its_disk_before_the_engine_opens_it(
    host: MemoryHost, serving: BoundDriver
) -> None:
    await serving.prepare()
    assert not host.mirrors.running
    await serving.activate(permit(2))
    assert holder(host) == ("data", 2)
    assert host.mirrors.serving == {"data": 2}
    assert host.volumes.mounts
    assert host.records.records["data"].servers == ("left",)
    assert await state(serving) is ResourceState.ACTIVE
    await serving.close()


async def test_after_its_stop_nothing_of_it_is_left(host: MemoryHost, serving: BoundDriver) -> None:
    await serving.activate(permit(2))
    await serving.deactivate(2)
    assert await state(serving) is ResourceState.INACTIVE
    assert not host.mirrors.running
    assert not host.volumes.mounts
    assert holder(host) is None
    assert not host.disks.noted


async def test_the_other_role_only_follows(host: MemoryHost, following: BoundDriver) -> None:
    await following.activate(permit(3))
    assert await state(following) is ResourceState.ACTIVE
    assert host.mirrors.running == {"data"}
    assert not host.mirrors.serving
    assert not host.volumes.mounts
    assert not host.records.records
    assert holder(host) == ("data", 3)
    await following.deactivate(3)
    assert await state(following) is ResourceState.INACTIVE
    assert not host.mirrors.running
    assert holder(host) is None


async def test_what_follows_serves_without_a_new_engine_and_lets_the_old_role_go(
    host: MemoryHost, serving: BoundDriver, following: BoundDriver
) -> None:
    await following.activate(permit(3))
    host.disks.view = DiskView("", taken=True)  # by its own engine
    await serving.activate(permit(4))
    assert holder(host) == ("data", 4)
    assert await state(following) is ResourceState.ACTIVE
    await following.deactivate(3)
    assert await state(following) is ResourceState.INACTIVE
    assert host.mirrors.serving == {"data": 4}
    assert holder(host) == ("data", 4)
    assert await state(serving) is ResourceState.ACTIVE
    await serving.close()


async def test_when_the_serving_role_ends_first_the_other_one_begins_anew(
    host: MemoryHost, serving: BoundDriver, following: BoundDriver
) -> None:
    await following.activate(permit(3))
    await serving.activate(permit(4))
    await serving.deactivate(4)
    assert not host.mirrors.running
    assert await state(following) is ResourceState.INACTIVE
    await following.deactivate(3)
    await following.activate(permit(3))
    assert await state(following) is ResourceState.ACTIVE
    assert holder(host) == ("data", 3)
    await following.close()


async def test_an_engine_that_ended_is_started_again(
    host: MemoryHost, following: BoundDriver
) -> None:
    await following.activate(permit(3))
    host.mirrors.running.clear()
    assert await state(following) is ResourceState.PARTIAL
    await following.deactivate(3)
    await following.activate(permit(3))
    assert host.mirrors.running
    await following.close()


async def test_a_lost_reservation_is_a_failure_of_either_role(
    host: MemoryHost, serving: BoundDriver
) -> None:
    await serving.activate(permit(2))
    host.disks.holders[DEVICE] = ("data", 9)
    assert await state(serving) is ResourceState.FAILED
    await serving.close()


async def test_a_disk_that_is_in_use_by_somebody_else_is_not_touched(
    host: MemoryHost, serving: BoundDriver
) -> None:
    host.disks.view = DiskView("", taken=True)
    with pytest.raises(ResourceError, match="in use on this server by somebody else"):
        await serving.prepare()
    with pytest.raises(ResourceError, match="in use on this server by somebody else"):
        await serving.activate(permit(2))
    assert not host.mirrors.running


async def test_an_older_epoch_stops_nothing_of_a_newer_one(
    host: MemoryHost, serving: BoundDriver
) -> None:
    await serving.activate(permit(4))
    await serving.deactivate(2)
    assert host.mirrors.serving == {"data": 4}
    with pytest.raises(ResourceError, match="newer epoch 4"):
        await serving.activate(permit(2))
    await serving.close()


@pytest.mark.parametrize("checks", range(8))
async def test_a_permit_that_ends_meanwhile_leaves_no_second_holder(
    host: MemoryHost, following: BoundDriver, checks: int
) -> None:
    try:
        await following.activate(permit_for(checks, 3))
    except PermitExpired:
        assert not host.mirrors.running
        assert holder(host) is None
        assert not host.disks.noted
    await following.close()


async def test_a_disk_that_the_engine_does_not_leave_is_not_stopped(
    host: MemoryHost, following: BoundDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await following.activate(permit(3))

    async def hangs(name: str) -> None:
        raise HostError("its engine does not end")

    monkeypatch.setattr(host.mirrors, "quit", hangs)
    with pytest.raises(ResourceError, match="does not end"):
        await following.deactivate(3)
    assert host.disks.noted
    await following.close()


async def test_a_server_in_neither_server_group_is_told(host: MemoryHost) -> None:
    sides = [
        {"serverGroup": "north", "device": DEVICE},
        {"serverGroup": "south", "device": OTHER},
    ]
    found = resource_from(TEXT)
    driver = driver_of(found.model_copy(update={"spec": spec(sides=sides)}), host)
    with pytest.raises(ResourceError, match="n1 must be in one of the server groups"):
        await driver.activate(permit(2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sides": [{"serverGroup": "left", "device": DEVICE}] * 2},
            "both sides are in server group left",
        ),
        (
            {
                "sides": [
                    {"serverGroup": "left", "device": DEVICE},
                    {"serverGroup": "right", "device": DEVICE},
                ]
            },
            "each server group has a disk of its own",
        ),
        (
            {
                "sides": [
                    {"serverGroup": "left", "file": "/srv/a"},
                    {"serverGroup": "right", "file": "/srv/b"},
                ]
            },
            "reservation: none",
        ),
        (
            {
                "sides": [
                    {"serverGroup": "left", "device": "/dev/sdb"},
                    {"serverGroup": "right", "device": OTHER},
                ]
            },
            "another disk after a restart",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_the_side_that_follows_has_no_side_of_its_own() -> None:
    main = spec()
    found = main.following("data")
    assert found is not None
    assert found.group == "web-standby"
    assert found.following("data-standby") is None
    assert main.side_of("n1", ["left"]) == "left"
    assert found.side_of("n1", ["left"]) is None


@pytest.mark.parametrize("name", ["data", "data-standby"])
async def test_without_its_spec_it_can_be_stopped(
    host: MemoryHost, serving: BoundDriver, following: BoundDriver, name: str
) -> None:
    """Its engine must not write any more when its disk counts as free."""
    driver = serving if name == "data" else following
    await driver.activate(permit(3))
    await driver.close()
    assert name in await leftovers(host)
    await clear(host, name, 3)
    assert name not in await leftovers(host)
    assert not host.mirrors.running
    assert not host.mirrors.serving
    assert not host.volumes.mounts


async def test_all_its_volumes_go_without_its_spec(host: MemoryHost) -> None:
    two = "volumes: [{name: b, size: 16MiB, mountPoint: /b}, {name: a, size: 1GiB, mountPoint: /a}]"
    text = TEXT.replace("  mountPoint: /srv/data\n", f"  {two}\n")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("  size:"))
    driver = driver_of(resource_from(text), host, format_consent=None)
    await driver.activate(permit(3))
    await driver.close()
    assert set(host.volumes.mounts) == {"/a", "/b"}
    await clear(host, "data", 3)
    assert host.traces() == ()


async def test_what_serves_keeps_its_engine_when_the_other_role_is_cleared(
    host: MemoryHost, serving: BoundDriver, following: BoundDriver
) -> None:
    await following.activate(permit(3))
    await serving.activate(permit(4))
    await clear(host, "data-standby", 3)
    assert host.mirrors.serving == {"data": 4}
    await following.close()
    await serving.close()
