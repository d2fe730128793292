"""Drivers for tests: a resource from YAML, a place for it, permits and a record of events."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.binding import BoundDriver, bind
from reconciler.decide.circumstances import Circumstances
from reconciler.plugin import Place, Registry
from reconciler.ports.driver import Permit
from reconciler.ports.host import Host
from reconciler.ports.mirrors import NoRecords
from reconciler.ports.probes import Probes, Sample
from specs.load import Source, load
from specs.resource import Resource

REGISTRY = Registry.discover()


class RealClock:
    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, name: str, /, **fields: Any) -> None:
        self.events.append((name, fields))


def resource_from(text: str) -> Resource:
    (found,) = load([Source("test.yaml", text.encode())], REGISTRY).resources.values()
    return found


class Answers:
    """Commands that end as they are told to: by their CLUSTER_ACTION, else with exit code 0."""

    def __init__(self, **codes: int | None) -> None:
        self.codes = codes
        self.runs: list[tuple[str, Mapping[str, Any]]] = []

    async def run(self, name: str, settings: Mapping[str, Any], timeout_s: float) -> Sample:
        action = str(settings["environment"].get("CLUSTER_ACTION", name))
        self.runs.append((action, settings))
        await asyncio.sleep(0)
        code = self.codes.get(action, 0)
        return Sample(None if code is None else code == 0, f"exit code {code}", exit_code=code)


def driver_of(
    resource: Resource,
    host: Host,
    probes: Probes | None = None,
    found: Circumstances | None = None,
    run_directory: Path = Path("/nonexistent"),
    **changes: object,
) -> BoundDriver:
    """A driver at server n1; `changes` replace fields of the spec."""
    spec = resource.spec.model_copy(update=changes)
    place = Place(
        name=resource.metadata.name,
        group=spec.group,
        server="n1",
        host=host,
        clock=RealClock(),
        events=Recorder(),
        run_directory=run_directory,
        probes=probes or Answers(),
        circumstances=lambda: found or Circumstances(),
        servers=lambda: {"n1": {"private": "10.77.1.11"}, "n2": {"private": "10.77.1.12"}},
        server_groups=lambda: {"left": ("n1",), "right": ("n2",)},
        records=getattr(host, "records", NoRecords()),
    )
    return bind(resource.model_copy(update={"spec": spec}), place)


def permit(epoch: int = 1) -> Permit:
    return Permit(epoch, lambda: True)


def expired(epoch: int = 1) -> Permit:
    return Permit(epoch, lambda: False)


def permit_for(checks: int, epoch: int = 1) -> Permit:
    """Holds for the given number of checks, then never again."""
    answers = iter([True] * checks)
    return Permit(epoch, lambda: next(answers, False))
