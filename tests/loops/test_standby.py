"""Standby scripts run beside everything else: nothing waits for them, what is over is killed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.adapters.clock import MonotonicClock
from reconciler.loops.standby import StandbyLoop
from reconciler.ports.probes import Sample
from specs.script import Script
from tests.decide.build import Scene
from tests.resources.places import Recorder, resource_from

SPEC = {
    "group": "web",
    "type": "script",
    "start": {"text": "#!/bin/sh\n"},
    "standbyStart": {"text": "#!/bin/sh\n# start\n"},
    "standbyStop": {"text": "#!/bin/sh\n# stop\n"},
    "env": {"MORE": "yes"},
}
JOB = {"apiVersion": "clusterctl/v1", "kind": "Resource", "metadata": {"name": "job"}, "spec": SPEC}


class World:
    """One standby server, whose snapshots are set by hand, and whose scripts end when told to."""

    def __init__(self) -> None:
        self.clock, self.events, self.me = MonotonicClock(), Recorder(), "n1"
        self.mirror = SimpleNamespace(status_synced=asyncio.Event())
        self.mirror.status_synced.set()
        self.wake = asyncio.Event()
        self.running: list[dict[str, str]] = []
        self.killed: list[str] = []
        self.answer: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        self.specs: Any = None
        self.seen: Any = None

    def new_wake(self) -> asyncio.Event:
        return self.wake

    def new_spec_wake(self) -> asyncio.Event:
        return self.wake

    def snapshot(self) -> Any:
        return self.seen

    def show(self, scene: Scene) -> None:
        snapshot = scene.snapshot()
        resource = resource_from(json.dumps(JOB))
        specs = replace(snapshot.specs, resources={"job": resource})
        self.seen = replace(snapshot, specs=specs)
        self.specs = self.specs or specs
        self.wake.set()

    async def script(
        self, name: str, script: Script, variables: Mapping[str, str], limit_s: float, where: str
    ) -> Sample:
        assert (name, limit_s, where) == ("job", 60.0, "/")
        self.running.append(dict(variables))
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.killed.append(variables["CLUSTER_ACTION"])
            raise

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - other tasks make it true
                await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    task = asyncio.create_task(StandbyLoop(made, made.script).run())  # type: ignore[arg-type]
    yield made
    task.cancel()
    await asyncio.wait([task])


ELSEWHERE = Scene().own("n2", epoch=4).status("n2", epoch=4)


async def test_an_agent_that_comes_back_is_told_so(world: World) -> None:
    world.show(ELSEWHERE)
    await world.until(lambda: len(world.running) == 1)
    told = world.running[0]
    assert (told["CLP_EVENT"], told["CLUSTER_EPOCH"], told["MORE"]) == ("RECOVER", "4", "yes")
    assert (told["CLUSTER_ACTION"], told["CLUSTER_OWNER"]) == ("standby-start", "n2")


async def test_a_group_that_comes_online_later_is_a_start(world: World) -> None:
    world.show(Scene().own("n2", epoch=4))
    await asyncio.sleep(0)
    await world.until(lambda: not world.wake.is_set())
    world.show(ELSEWHERE)
    await world.until(lambda: len(world.running) == 1)
    assert world.running[0]["CLP_EVENT"] == "START"


async def test_what_hangs_is_killed_for_the_next_and_for_the_group_itself(world: World) -> None:
    world.show(ELSEWHERE)
    await world.until(lambda: len(world.running) == 1)
    world.show(Scene().own("n2", epoch=4, releasing=True).status("n2", epoch=4))
    await world.until(lambda: len(world.running) == 2)
    assert world.killed == ["standby-start"]
    assert world.running[1]["CLUSTER_ACTION"] == "standby-stop"
    world.show(Scene().own("n1", epoch=5))
    await world.until(lambda: world.killed == ["standby-start", "standby-stop"])
    assert len(world.running) == 2


async def test_a_failure_is_an_event_and_nothing_else(world: World) -> None:
    world.show(ELSEWHERE)
    world.answer.set_result(Sample(False, "exit code 3", "no\nroute\n"))
    await world.until(lambda: bool(world.events.events))
    name, fields = world.events.events[0]
    assert name == "script_failed"
    assert (fields["script"], fields["reason"]) == (
        "standby-start",
        "exit code 3; its last words: route",
    )
