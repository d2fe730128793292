"""Monitors of mirrored disks: what an engine says, and what becomes of it."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.mirror.header import Header
from reconciler.monitors.hybrid import Hybrid
from reconciler.monitors.mirror import Mirror
from reconciler.monitors.mirror_connect import MirrorConnect
from reconciler.plugin import Site
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import EngineView
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.check import check
from specs.load import Source, load
from specs.resource import Resource
from tests.resources.memory_host import MemoryHost
from tests.resources.places import REGISTRY, resource_from

HEADER = Header("data", 16 << 20, "g1")
DISK = resource_from("""
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec: {group: db, type: mirror-disk, file: /srv/d, size: 16MiB, mountPoint: /srv/data}
""")
HYBRID = resource_from("""
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: db
  type: hybrid-disk
  sides: [{serverGroup: left, file: /srv/l}, {serverGroup: right, file: /srv/r}]
  reservation: none
  size: 16MiB
  mountPoint: /srv/data
""")
COMMON = {"target": "resource/data", "resource": "data"}
SERVING = {"connected": True, "stage": "both", "peers": ["10.0.0.2", "10.1.0.2"]}


class Echoes:
    """Addresses that answer."""

    def __init__(self, *silent: str, unknown: bool = False) -> None:
        self.silent, self.unknown = silent, unknown

    async def run(self, name: str, settings: Any, timeout_s: float) -> Sample:
        assert (name, settings["need"]) == ("ping", "all")
        if self.unknown:
            return Sample(None, "this server may not send ICMP echoes")
        return Sample(settings["addresses"][0] not in self.silent)


def site(
    view: EngineView | None, disk: Resource | None = DISK, probes: Echoes | None = None
) -> Site:
    host = MemoryHost()

    async def answer(name: str) -> EngineView | None:
        assert name == "data"
        return view

    host.mirrors.view = answer  # type: ignore[method-assign]
    return Site("m", "n1", host, probes or Echoes(), {"data": disk} if disk else {})


def serving(over: str = "", suspended: bool = False, **details: Any) -> EngineView:
    found = {**SERVING, **details}
    return EngineView(True, 4, over, suspended, "/run/disk", HEADER, "boot", found)


def following(header: Header = HEADER, **details: Any) -> EngineView:
    return EngineView(False, 0, "", False, "", header, "boot", {"connected": True, **details})


OK, WARNING, FAULT = (True, False), (True, True), (False, False)
CASES = [
    (serving(), OK, "both sides have everything"),
    (serving(stage="joining"), WARNING, "is copied to"),
    (serving(stage="alone", bytes_to_copy=3 << 20), WARNING, "3.0 MiB are left"),
    (serving(stage="alone", connected=False, problem="10.0.0.2: refused"), None, "10.0.0.2"),
    (
        serving(stage="alone", connected=False, verdict="split-brain", verdict_reason="both new"),
        None,
        "split-brain: both new",
    ),
    (serving(over="the disk cannot be written"), FAULT, "cannot be written"),
    (serving(suspended=True), FAULT, "until the store says"),
    (following(), OK, "follows"),
    (following(connected=False), None, "no serving side"),
    (following(replace(HEADER, consistent=False)), WARNING, "this side is copied to"),
    (following(replace(HEADER, isolated=True)), None, "isolated"),
]


@pytest.mark.parametrize(("view", "found", "words"), CASES)
@pytest.mark.parametrize("broken", ["warning", "fault"])
async def test_what_the_engine_says(
    view: EngineView, found: tuple[bool, bool] | None, words: str, broken: str
) -> None:
    for model, disk in ((Mirror, DISK), (Hybrid, HYBRID)):
        monitor = model.model_validate({**COMMON, "broken": broken})
        sample = await monitor.sample(site(view, disk))
        wanted = found or (FAULT if broken == "fault" else WARNING)
        assert (sample.healthy, sample.warning) == wanted
        assert words in sample.reason


FOUND = {"ended": "done", "different": [0, 1 << 20], "repair": False}


@pytest.mark.parametrize(
    ("verify", "repair", "asked", "words"),
    [
        (FOUND, "none", 0, "clusterctl mirror resync data --checksum"),
        (FOUND, "checksum", 1, "2 different parts: what differs is copied again"),
        (FOUND | {"different": 1}, "checksum", 1, "1 different part:"),
        (FOUND | {"different": []}, "checksum", 0, "both sides have everything"),
        (FOUND | {"ended": ""}, "checksum", 0, "both sides have everything"),
        (FOUND | {"repair": True}, "checksum", 0, "both sides have everything"),
    ],
)
async def test_what_a_comparison_found_is_copied_where_the_spec_says_so(
    verify: dict[str, Any], repair: str, asked: int, words: str
) -> None:
    monitor = Mirror.model_validate({**COMMON, "repair": repair})
    place, requests = site(serving(verify=verify)), []

    async def ask(name: str, request: Any) -> dict[str, Any]:
        requests.append((name, request))
        return {}

    place.host.mirrors.ask = ask  # type: ignore[method-assign]
    sample = await monitor.sample(place)
    assert words in sample.reason
    assert sample.healthy
    assert requests == [("data", {"do": "resync", "how": "checksum"})] * asked


async def test_an_engine_that_refuses_the_repair_leaves_the_warning() -> None:
    place = site(serving(verify=FOUND))

    async def ask(name: str, request: Any) -> dict[str, Any]:
        raise HostError("it does not answer")

    place.host.mirrors.ask = ask  # type: ignore[method-assign]
    sample = await Mirror.model_validate({**COMMON, "repair": "checksum"}).sample(place)
    assert (sample.healthy, sample.warning) == WARNING
    assert "cannot be copied: it does not answer" in sample.reason


async def test_without_an_engine_it_is_a_fault_where_one_must_be() -> None:
    assert (await Mirror.model_validate(COMMON).sample(site(None))).healthy is False
    assert (await Hybrid.model_validate(COMMON).sample(site(None, HYBRID))).healthy is False
    always = Hybrid.model_validate({**COMMON, "timing": "always"})
    sample = await always.sample(site(None, HYBRID))
    assert sample.healthy
    assert "not the current server" in sample.reason


@pytest.mark.parametrize(
    ("model", "disk"), [(Mirror, HYBRID), (Hybrid, DISK), (Mirror, None), (MirrorConnect, None)]
)
async def test_another_resource_is_not_looked_at(model: Any, disk: Resource | None) -> None:
    with pytest.raises(ProbeUnavailable, match="resource data is no"):
        await model.model_validate(COMMON).sample(site(serving(), disk))


@pytest.mark.parametrize(
    ("silent", "broken", "found"),
    [
        ((), "warning", OK),
        (("10.1.0.2",), "warning", WARNING),
        (("10.1.0.2",), "fault", WARNING),
        (("10.0.0.2", "10.1.0.2"), "warning", WARNING),
        (("10.0.0.2", "10.1.0.2"), "fault", FAULT),
    ],
)
async def test_each_way_is_asked(
    silent: tuple[str, ...], broken: str, found: tuple[bool, bool]
) -> None:
    monitor = MirrorConnect.model_validate({**COMMON, "broken": broken})
    sample = await monitor.sample(site(serving(), DISK, Echoes(*silent)))
    assert (sample.healthy, sample.warning) == found
    assert all(address in sample.reason for address in silent)


async def test_what_cannot_be_asked_is_not_known() -> None:
    monitor = MirrorConnect.model_validate(COMMON)
    sample = await monitor.sample(site(serving(), DISK, Echoes(unknown=True)))
    assert sample.healthy is None
    with pytest.raises(ProbeUnavailable, match="no engine here tells"):
        await monitor.sample(site(None))


async def test_who_has_no_side_of_a_hybrid_disk_now_has_no_ways() -> None:
    always = MirrorConnect.model_validate({**COMMON, "timing": "always"})
    sample = await always.sample(site(None, HYBRID))
    assert sample.healthy
    assert "not the current server" in sample.reason
    with pytest.raises(ProbeUnavailable, match="no engine here tells"):
        await always.sample(site(None))


def test_apply_refuses_a_resource_of_another_type() -> None:
    text = """
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: ip}
spec: {group: db, type: floating-ip, address: 10.0.0.9/24}
---
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: pair}
spec: {type: mirror, target: group/db, resource: ip}
"""
    found = check(load([Source("db.yaml", text.encode())], REGISTRY), REGISTRY)
    (told,) = [problem for problem in found if problem.code == "E0207"]
    assert (told.file, told.line, told.path) == ("db.yaml", 10, "spec.resource")
    assert "'ip' is a floating-ip" in told.message
