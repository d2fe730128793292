"""What is special about the types: settings that are refused, and what is looked at on the host."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.monitors.address import Address
from reconciler.monitors.http import Http
from reconciler.monitors.ping import Ping
from reconciler.monitors.process import Process
from reconciler.plugin import Site
from reconciler.ports.host import Workload
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.check import check, errors_of
from specs.load import load
from specs.sources import read_sources
from tests.monitors.test_conformance import Asked
from tests.resources.memory_host import MemoryHost
from tests.resources.places import REGISTRY, permit, resource_from

EXAMPLE = Path(__file__).parents[2] / "examples/02-monitors"

ADDRESS = resource_from(
    "apiVersion: clusterctl/v1\nkind: Resource\nmetadata: {name: web-ip}\n"
    "spec: {group: web, type: floating-ip, address: 10.77.2.100/24}\n"
)
COMMON = {"target": "group/web"}


def site(host: MemoryHost) -> Site:
    return Site("m", "n1", host, Asked(Sample(None)), {"web-ip": ADDRESS})


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (Http, {"url": "ftp://a/"}, "is not a URL"),
        (Http, {"url": "http://a:0/"}, "is not a URL"),
        (Http, {"url": "http://:80/"}, "is not a URL"),
        (Http, {"url": "http://eve:secret@a/"}, "user and password"),
        (Http, {"url": "http://a/\r\nX: y"}, "printable"),
        (Http, {"url": "http://a/", "expectStatus": ["2xx"]}, "is not a status"),
        (Http, {"url": "http://a/", "expectStatus": ["299-200"]}, "empty range"),
        (Http, {"url": "http://a/", "host": "a\r\nb"}, "pattern"),
        (Ping, {"addresses": []}, "at least 1"),
        (Ping, {"addresses": ["gateway"]}, "is not an IPv4 or IPv6 address"),
        (Process, {}, "either resource or pattern"),
        (Process, {"resource": "a", "pattern": "b"}, "either resource or pattern"),
        (Process, {"pattern": "("}, "not a regular expression"),
        (Address, {}, "either resource or address"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    model: Any, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        model.model_validate(COMMON | settings)


async def test_an_address_is_here_or_not() -> None:
    host = MemoryHost()
    by_resource = Address.model_validate(COMMON | {"resource": "web-ip"})
    by_address = Address.model_validate(COMMON | {"address": "10.77.2.100"})
    for monitor in (by_resource, by_address):
        assert (await monitor.sample(site(host))).healthy is False
    await host.network.add_address("10.77.2.100/24", "eth0", "web-ip", permit())
    for monitor in (by_resource, by_address):
        assert (await monitor.sample(site(host))).healthy


async def test_a_resource_without_an_address_says_nothing() -> None:
    monitor = Address.model_validate(COMMON | {"resource": "other"})
    with pytest.raises(ProbeUnavailable, match="resource other has no address"):
        await monitor.sample(site(MemoryHost()))


async def test_the_main_process_of_a_resource() -> None:
    host = MemoryHost()
    monitor = Process.model_validate(COMMON | {"resource": "web-server"})
    assert (await monitor.sample(site(host))).healthy is False
    await host.runners.start("web-server", Workload(("serve",)), permit())
    assert (await monitor.sample(site(host))).healthy
    host.runners.end("web-server", 3)
    ended = await monitor.sample(site(host))
    assert (ended.healthy, ended.reason) == (False, "its runner is exited")
    assert "address already in use" in ended.output


def test_the_example_loads_and_names_nothing_that_is_not_there() -> None:
    sources = read_sources([str(EXAMPLE)], None)
    specs = load(sources, REGISTRY)
    assert len(specs.monitors) == 5
    # The lab brings its own Cluster and Servers; everything else must be in the example.
    found = errors_of(check(specs, REGISTRY))
    assert {problem.code for problem in found} <= {"E0204", "E0201", "E0205"}
    assert not [problem for problem in found if "monitors.yaml" in problem.file]
