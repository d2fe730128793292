"""What every resource type promises, whoever wrote it. A new type is tested here by being there."""

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator

import pytest

from reconciler.binding import BoundDriver
from reconciler.plugin import ResourceType
from reconciler.ports.driver import PermitExpired, ResourceError, ResourceState
from specs.diff import disturbs
from specs.resource import Resource
from tests.resources.memory_host import MemoryHost
from tests.resources.places import (
    REGISTRY,
    driver_of,
    expired,
    permit,
    permit_for,
    resource_from,
)

STEPS_OF_AN_ACTIVATION = 25


def example_of(found: type[ResourceType]) -> Resource:
    blocks = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(found) or "", re.DOTALL)
    assert len(blocks) == 1, f"the docstring of {found.__name__} must hold one YAML example"
    return resource_from(blocks[0])


@pytest.fixture(params=REGISTRY.resource_types(), ids=lambda found: found.tag())
def example(request: pytest.FixtureRequest) -> Resource:
    return example_of(request.param)


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
async def driver(example: Resource, host: MemoryHost) -> AsyncIterator[BoundDriver]:
    bound = driver_of(example, host)
    yield bound
    await bound.close()


def test_the_example_in_the_docstring_is_of_that_type(example: Resource) -> None:
    model = REGISTRY.resource_model(example.spec.type)
    assert model is not None
    assert isinstance(example.spec, model)


def test_what_an_agent_remembers_of_it_is_the_same_to_the_next_agent(example: Resource) -> None:
    """Else each restart of an agent would restart all that runs."""
    dumped = json.loads(json.dumps(example.model_dump(mode="json", by_alias=True)))
    model = type(example.spec)
    remembered = Resource.model_validate({**dumped, "spec": model.model_validate(dumped["spec"])})
    assert remembered.spec == example.spec
    assert not disturbs(remembered, example)


def test_each_alias_is_read_as_the_type(example: Resource) -> None:
    model = REGISTRY.resource_model(example.spec.type)
    assert isinstance(model, type)
    assert issubclass(model, ResourceType)
    for alias in model.aliases:
        data = example.spec.to_json() | {"type": alias}
        assert model.model_validate(data).type == example.spec.type


def test_every_field_says_what_it_is_for_and_what_a_change_disturbs(example: Resource) -> None:
    for name, info in type(example.spec).model_fields.items():
        assert info.description, name
        assert isinstance(info.json_schema_extra, dict), name
        assert "impact" in info.json_schema_extra, name


async def test_activating_twice_is_activating_once(driver: BoundDriver, host: MemoryHost) -> None:
    await driver.activate(permit(1))
    once = host.traces()
    await driver.activate(permit(1))
    assert host.traces() == once
    assert (await driver.observe()).state is ResourceState.ACTIVE


async def test_it_says_at_which_epoch_it_runs(driver: BoundDriver) -> None:
    await driver.activate(permit(7))
    assert (await driver.observe()).epoch == 7


async def test_stopping_what_never_ran_is_fine(driver: BoundDriver, host: MemoryHost) -> None:
    before = host.traces()
    await driver.deactivate(1)
    assert host.traces() == before
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_observing_changes_nothing(driver: BoundDriver, host: MemoryHost) -> None:
    for _ in range(2):
        before = host.traces()
        await driver.observe()
        assert host.traces() == before
        await driver.activate(permit(1))


async def test_without_a_permit_nothing_changes(driver: BoundDriver, host: MemoryHost) -> None:
    with pytest.raises(PermitExpired):
        await driver.activate(expired())
    assert host.traces() == ()


@pytest.mark.parametrize("checks", range(1, 6))
async def test_a_permit_that_ends_on_the_way_leaves_nothing_running(
    driver: BoundDriver, host: MemoryHost, checks: int
) -> None:
    try:
        await driver.activate(permit_for(checks))
    except PermitExpired:
        assert host.traces() == ()


@pytest.mark.parametrize("steps", range(STEPS_OF_AN_ACTIVATION))
async def test_after_a_cancelled_start_it_says_what_is_true(
    driver: BoundDriver, host: MemoryHost, steps: int
) -> None:
    task = asyncio.ensure_future(driver.activate(permit(1)))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    observed = await driver.observe()
    assert (observed.state is ResourceState.INACTIVE) == (host.traces() == ())
    await driver.deactivate(1)
    assert host.traces() == ()


async def test_a_stop_of_an_older_epoch_leaves_the_newer_one_alone(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(5))
    running = host.traces()
    await driver.deactivate(4)
    assert host.traces() == running
    await driver.deactivate(5)
    assert host.traces() == ()


async def test_another_agent_adopts_and_stops_it(example: Resource, host: MemoryHost) -> None:
    first, second = driver_of(example, host), driver_of(example, host)
    await first.activate(permit(3))
    await first.close()
    running = host.traces()
    assert (await second.observe()).state is ResourceState.ACTIVE
    await second.activate(permit(3))
    assert host.traces() == running
    await second.deactivate(3)
    assert host.traces() == ()


async def test_it_wakes_its_keeper_when_it_vanishes(driver: BoundDriver, host: MemoryHost) -> None:
    await driver.activate(permit(1))
    await driver.observe()
    woken = asyncio.ensure_future(driver.changed())
    await asyncio.sleep(0.01)
    assert not woken.done()
    host.wipe()
    await asyncio.wait_for(woken, 5)
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_a_change_between_observing_and_waiting_is_not_missed(
    driver: BoundDriver, host: MemoryHost
) -> None:
    await driver.activate(permit(1))
    await driver.observe()
    host.wipe()
    await asyncio.wait_for(driver.changed(), 5)


async def test_a_start_that_hangs_ends_with_a_sentence(example: Resource, host: MemoryHost) -> None:
    host.hang()
    driver = driver_of(example, host, start_timeout=0.05)
    with pytest.raises(ResourceError, match=r"longer than 0\.05 s"):
        await driver.activate(permit())


async def test_a_stop_that_hangs_ends_with_a_sentence(example: Resource, host: MemoryHost) -> None:
    driver = driver_of(example, host, stop_timeout=0.05)
    await driver.activate(permit())
    host.hang()
    with pytest.raises(ResourceError, match=r"longer than 0\.05 s"):
        await driver.deactivate(1)
