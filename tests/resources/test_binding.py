"""What `bind` adds to every type: upkeep, preparation, and clearing away what no spec knows."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reconciler.binding import BoundDriver, bind, clear, leftovers
from reconciler.ports.driver import Permit, ResourceError, ResourceState
from specs.resource import Resource, ResourceSpec
from tests.resources.memory_host import MemoryHost, Wire
from tests.resources.places import Recorder, driver_of, permit, resource_from

IP = resource_from(
    "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: web-ip}\n"
    "spec: {group: web, type: fip, address: 10.77.2.100}\n"
)
APP = resource_from(
    "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: web-app}\n"
    "spec: {group: web, type: application, command: [sleep, '1000']}\n"
)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def host(wire: Wire) -> MemoryHost:
    return MemoryHost(wire)


@pytest.fixture
async def driver(host: MemoryHost) -> AsyncIterator[BoundDriver]:
    made = driver_of(IP, host)
    yield made
    await made.close()


async def announced(wire: Wire, times: int) -> None:
    async with asyncio.timeout(15):
        while len(wire.announcements) < times:  # noqa: ASYNC110 - a list, not an event
            await asyncio.sleep(0.01)


async def test_an_address_is_announced_again_after_its_start(
    driver: BoundDriver, wire: Wire
) -> None:
    await driver.activate(permit())
    await announced(wire, 3)


async def test_an_adopted_address_is_announced_again(
    driver: BoundDriver, host: MemoryHost, wire: Wire
) -> None:
    await driver.activate(permit())
    await driver.close()
    wire.announcements.clear()
    later = driver_of(IP, host)
    await later.activate(permit())
    await announced(wire, 3)
    await later.close()


async def test_without_a_valid_permit_nothing_is_announced(
    driver: BoundDriver, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.resources.floating_ip.FIRST_ANNOUNCEMENTS_S", (0.0,) * 50)
    answers = iter([True] * 5)
    await driver.activate(Permit(1, lambda: next(answers, False)))
    await asyncio.sleep(0.05)
    sent = len(wire.announcements)
    await asyncio.sleep(0.05)
    assert len(wire.announcements) == sent


async def test_a_failing_announcement_is_reported_once(
    driver: BoundDriver, host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.resources.floating_ip.FIRST_ANNOUNCEMENTS_S", (0.0,) * 20)
    await driver.activate(permit())
    host.network.cut = True
    recorder = driver.place.events
    assert isinstance(recorder, Recorder)
    async with asyncio.timeout(15):
        while not recorder.events:  # noqa: ASYNC110 - a list, not an event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert [name for name, _ in recorder.events] == ["announcement_failed"]


async def test_checks_made_early_are_not_repeated(
    driver: BoundDriver, host: MemoryHost, wire: Wire
) -> None:
    await driver.prepare()
    MemoryHost(wire, "02:00:00:00:00:02").network.held += (await _held_elsewhere(),)
    await driver.activate(permit())
    await driver.deactivate(1)
    with pytest.raises(ResourceError, match="02:00:00:00:00:02"):
        await driver.activate(permit(2))


async def _held_elsewhere() -> object:
    other = MemoryHost()
    await driver_of(IP, other).spec.activate(driver_of(IP, other).place, permit())
    return other.network.held[-1]


async def test_a_duplicate_found_early_says_who_it_is(driver: BoundDriver, wire: Wire) -> None:
    MemoryHost(wire, "02:00:00:00:00:02").network.held += (await _held_elsewhere(),)
    with pytest.raises(ResourceError, match="02:00:00:00:00:02") as caught:
        await driver.prepare()
    assert not caught.value.retry


async def test_what_is_left_of_deleted_resources_is_found_and_cleared(host: MemoryHost) -> None:
    for resource, epoch in ((IP, 3), (APP, 4)):
        made = driver_of(resource, host)
        await made.activate(permit(epoch))
        await made.close()
    assert await leftovers(host) == {"web-ip": 3, "web-app": 4}
    await clear(host, "web-ip", 2)
    assert await leftovers(host) == {"web-ip": 3, "web-app": 4}
    for name, epoch in (await leftovers(host)).items():
        await clear(host, name, epoch)
    assert host.traces() == ()


async def test_a_host_that_does_not_answer_is_unknown(
    driver: BoundDriver, host: MemoryHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.plugin.OBSERVE_TIMEOUT_S", 0.02)
    host.hang()
    assert (await driver.observe()).state is ResourceState.UNKNOWN


def test_a_resource_without_a_type_has_no_driver(driver: BoundDriver) -> None:
    plain = Resource(metadata=IP.metadata, spec=ResourceSpec(group="web", type="unheard-of"))
    with pytest.raises(TypeError, match="unheard-of"):
        bind(plain, driver.place)


async def test_an_activation_takes_the_result_of_a_preparation_under_way(
    driver: BoundDriver, host: MemoryHost, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes, answer = [], asyncio.Event()

    async def probe(address: str, interface: str, window_s: float = 0.03) -> None:
        probes.append(address)
        await answer.wait()

    monkeypatch.setattr(host.network, "probe", probe)
    preparing = asyncio.create_task(driver.prepare())
    activating = asyncio.create_task(driver.activate(permit()))
    for _ in range(10):
        await asyncio.sleep(0)
    answer.set()
    await asyncio.gather(preparing, activating)
    assert probes == ["10.77.2.100"]


async def test_a_failed_preparation_is_repeated_by_the_activation(
    driver: BoundDriver, wire: Wire
) -> None:
    other = MemoryHost(wire, "02:00:00:00:00:02").network
    other.held += (await _held_elsewhere(),)
    with pytest.raises(ResourceError, match="in use"):
        await driver.prepare()
    other.held.pop()
    await driver.activate(permit())
    assert (await driver.observe()).state is ResourceState.ACTIVE
