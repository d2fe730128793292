"""What the driver of a mirrored disk refuses, and in which order it commits and serves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.binding import BoundDriver
from reconciler.mirror.decide.promotion import Change, Current
from reconciler.mirror.header import Header
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from reconciler.ports.mirrors import RecordUnavailable
from reconciler.resources import _mirrored
from specs.errors import SpecErrors
from tests.resources.memory_host import MemoryHost
from tests.resources.places import driver_of, permit, permit_for, resource_from

TEXT = """
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
BUILT = Header("data", 256 << 20, "g1", fresh=False)


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
def driver(host: MemoryHost) -> BoundDriver:
    return driver_of(resource_from(TEXT), host)


@pytest.mark.parametrize(
    ("record", "header", "reason"),
    [
        (Current(("n2",), "g1", 1), BUILT, "only n2 has all acknowledged data"),
        (Current(("n1", "n2"), "g9", 1), BUILT, "another generation"),
        (Current(("n1", "n2"), "g1", 1), replace(BUILT, consistent=False), "unfinished target"),
        (None, BUILT, "no record"),
    ],
)
async def test_a_side_that_is_not_current_is_never_served(
    driver: BoundDriver,
    host: MemoryHost,
    record: Current | None,
    header: Header,
    reason: str,
) -> None:
    host.mirrors.headers["data"] = header
    if record is not None:
        host.records.records["data"] = record
    with pytest.raises(ResourceError, match=reason) as refused:
        await driver.activate(permit(5))
    assert not refused.value.retry
    assert host.traces() == ()
    assert host.records.records.get("data") == record


async def test_the_record_names_this_side_alone_before_it_serves(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    record = host.records.records["data"]
    assert (record.servers, record.epoch) == (("n1",), 5)
    assert host.mirrors.headers["data"].current == record.generation
    await driver.close()


async def test_nothing_is_served_when_the_ownership_is_lost_at_the_commit(
    driver: BoundDriver, host: MemoryHost
) -> None:
    host.records.lost = True
    with pytest.raises(ResourceError, match="another server owns"):
        await driver.activate(permit(5))
    assert host.traces() == ()


@pytest.mark.parametrize("steps", [(), ("prepare",), ("prepare", "commit"), None])
async def test_a_permit_that_ends_stops_before_the_next_step(
    driver: BoundDriver, host: MemoryHost, steps: tuple[str, ...] | None
) -> None:
    taken: list[str] = []

    def noting(where: object, name: str) -> None:
        plain = getattr(where, name)

        async def call(*words: Any) -> Any:
            taken.append(name)
            return await plain(*words)

        setattr(where, name, call)

    for where, name in ((host.mirrors, "prepare"), (host.records, "commit")):
        noting(where, name)
    noting(host.mirrors, "promote")
    checks = 3 if steps is None else len(steps)
    with pytest.raises(PermitExpired):
        await driver.spec.activate(driver.place, permit_for(checks, 5))
    assert taken == list(("prepare", "commit", "promote") if steps is None else steps)
    assert host.traces() == ()


async def test_a_promotion_whose_answer_was_lost_goes_on(
    driver: BoundDriver, host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names this side alone by now: nobody else could serve."""
    plain = host.records.commit
    lost: list[Current] = []

    async def commit(resource: str, group: str, epoch: int, change: Change) -> Current:
        found = await plain(resource, group, epoch, change)
        if not lost:
            lost.append(found)
            raise RecordUnavailable("no answer in time")
        return found

    monkeypatch.setattr(host.records, "commit", commit)
    await driver.activate(permit(5))
    assert host.records.records["data"] == lost[0]
    assert host.mirrors.headers["data"].current == lost[0].generation
    await driver.close()


async def test_a_file_system_is_never_made_without_consent(host: MemoryHost) -> None:
    driver = driver_of(resource_from(TEXT), host)
    await driver.activate(permit(5))
    await driver.close()
    assert host.volumes.made == []


async def test_a_file_system_is_made_at_the_first_start_only(host: MemoryHost) -> None:
    driver = driver_of(resource_from(TEXT), host, format_consent="yes")
    await driver.activate(permit(5))
    assert len(host.volumes.made) == 1
    await driver.deactivate(5)
    host.volumes.made.clear()
    await driver.activate(permit(6))
    await driver.close()
    assert host.volumes.made == []


async def test_a_file_system_over_a_dead_engine_is_a_failure(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    host.mirrors.serving.clear()
    assert (await driver.observe()).state is ResourceState.FAILED
    await driver.deactivate(5)
    assert host.traces() == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("file: /var/lib/data.img", "device: /dev/sdb"), "by-id"),
        (
            lambda text: text.replace("file: /var/lib/data.img", "port: 7788"),
            "file, device or devices",
        ),
        (lambda text: text.replace("256MiB", "100000001B"), "multiple of 4096"),
        (lambda text: text.replace("/srv/data", "srv/data"), "not an absolute path"),
        (lambda text: f"{text}  engine: drbd\n  encryption: tls\n", "neither encrypts"),
    ],
)
def test_specs_that_could_lose_data_are_refused(change: Callable[[str], str], message: str) -> None:
    with pytest.raises(SpecErrors, match=message):
        resource_from(change(TEXT))


async def test_each_server_may_have_a_device_of_its_own(host: MemoryHost) -> None:
    own = "devices: {n1: /dev/disk/by-id/a, n2: /dev/disk/by-id/b}"
    driver = driver_of(resource_from(TEXT.replace("file: /var/lib/data.img", own)), host)
    await driver.prepare()
    assert host.mirrors.plans["data"].data == "/dev/disk/by-id/a"


async def test_a_server_without_a_device_gets_one_sentence(host: MemoryHost) -> None:
    own = "devices: {n2: /dev/disk/by-id/b, n3: /dev/disk/by-id/c}"
    driver = driver_of(resource_from(TEXT.replace("file: /var/lib/data.img", own)), host)
    with pytest.raises(ResourceError, match="no device for n1"):
        await driver.activate(permit(5))


@pytest.mark.parametrize("hands_over", [True, False])
async def test_a_planned_move_of_an_asynchronous_mirror_loses_nothing(
    host: MemoryHost, hands_over: bool
) -> None:
    """What the other side did not get in time makes the record name this side alone."""
    driver = driver_of(resource_from(TEXT), host, mode="async")
    await driver.activate(permit(5))
    generation = host.mirrors.headers["data"].current
    host.records.records["data"] = Current(("n1", "n2"), generation, 5)
    host.mirrors.hands_over = hands_over
    await driver.deactivate(5)
    holders = ("n1", "n2") if hands_over else ("n1",)
    assert host.records.records["data"] == Current(holders, generation, 5)


async def test_what_a_synchronous_mirror_answered_is_on_both_sides_however_it_stops(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    both = Current(("n1", "n2"), host.mirrors.headers["data"].current, 5)
    host.records.records["data"] = both
    host.mirrors.hands_over = False
    await driver.deactivate(5)
    assert host.records.records["data"] == both


@pytest.mark.parametrize("trouble", ["lost", "away"])
async def test_a_stop_ends_although_the_record_cannot_be_written(
    host: MemoryHost, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mirrored, "HAND_OVER_S", 0.1)
    driver = driver_of(resource_from(TEXT), host, mode="async")
    await driver.activate(permit(5))
    host.mirrors.hands_over = False
    setattr(host.records, trouble, True)
    await driver.deactivate(5)
    assert host.traces() == ()
    told = [name for name, _ in driver.place.events.events if name == "mirror_tail_at_risk"]
    assert bool(told) is (trouble == "away")
