"""What every monitor type promises, whoever wrote it. A new type is tested here by being there."""

import contextlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.plugin import MonitorType, Site
from reconciler.ports.host import HostError
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.probe.service import PROBES
from specs.load import Source, load
from specs.monitor import Monitor, MonitorSpec
from tests.resources.memory_host import MemoryHost
from tests.resources.places import REGISTRY


class Asked:
    """Probes that answer what they are told to, and remember what they were asked."""

    def __init__(self, answer: Sample | Exception) -> None:
        self.answer = answer
        self.requests: list[tuple[str, Mapping[str, Any], float]] = []

    async def run(self, name: str, settings: Mapping[str, Any], timeout_s: float) -> Sample:
        self.requests.append((name, settings, timeout_s))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def example_of(found: type[MonitorType]) -> Monitor:
    blocks = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(found) or "", re.DOTALL)
    assert len(blocks) == 1, f"the docstring of {found.__name__} must hold one YAML example"
    (monitor,) = load([Source("test.yaml", blocks[0].encode())], REGISTRY).monitors.values()
    return monitor


@pytest.fixture(params=REGISTRY.monitor_types(), ids=lambda found: found.tag())
def example(request: pytest.FixtureRequest) -> Monitor:
    return example_of(request.param)


def spec_of(example: Monitor) -> MonitorType:
    assert isinstance(example.spec, MonitorType)
    return example.spec


def site(probes: Asked, host: MemoryHost | None = None) -> Site:
    return Site("m", "n1", host or MemoryHost(), probes, {})


def test_the_example_in_the_docstring_is_of_that_type(example: Monitor) -> None:
    model = REGISTRY.monitor_model(example.spec.type)
    assert model is not None
    assert isinstance(example.spec, model)


def test_each_alias_is_read_as_the_type(example: Monitor) -> None:
    for alias in type(spec_of(example)).aliases:
        data = example.spec.to_json() | {"type": alias}
        assert type(example.spec).model_validate(data).type == example.spec.type


def test_every_field_says_what_it_is_for_and_disturbs_monitors_only(example: Monitor) -> None:
    for name, info in type(example.spec).model_fields.items():
        assert info.description, name
        assert isinstance(info.json_schema_extra, dict), name
        assert info.json_schema_extra.get("impact") == "monitor", name


def test_it_survives_the_way_to_json_and_back(example: Monitor) -> None:
    assert type(example.spec).model_validate(example.spec.to_json()) == example.spec


def test_common_fields_are_not_changed_by_a_type(example: Monitor) -> None:
    for name, info in MonitorSpec.model_fields.items():
        if name != "type":
            assert type(example.spec).model_fields[name].default == info.default, name


async def test_it_asks_for_probes_that_exist_within_its_own_time(example: Monitor) -> None:
    probes = Asked(Sample(True))
    try:
        await spec_of(example).sample(site(probes))
    except ProbeUnavailable:
        assert probes.requests == []
    for name, _, timeout_s in probes.requests:
        assert name in PROBES
        assert timeout_s == example.spec.timeout


async def test_what_the_probe_said_is_what_it_says(example: Monitor) -> None:
    for answer in (Sample(True, "good"), Sample(False, "bad", "words"), Sample(None, "unknown")):
        probes = Asked(answer)
        try:
            found = await spec_of(example).sample(site(probes))
        except ProbeUnavailable:
            return
        if probes.requests:
            assert found == answer


async def test_a_probe_that_cannot_be_made_is_no_failure(example: Monitor) -> None:
    probes = Asked(ProbeUnavailable("no process"))
    host = MemoryHost()
    try:
        found = await spec_of(example).sample(site(probes, host))
    except (ProbeUnavailable, HostError):
        return
    assert probes.requests == []
    assert found.healthy in (True, False)


async def test_sampling_changes_nothing(example: Monitor) -> None:
    host = MemoryHost()
    before = host.traces()
    with contextlib.suppress(ProbeUnavailable):
        await spec_of(example).sample(site(Asked(Sample(True)), host))
    assert host.traces() == before
