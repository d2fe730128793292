"""An agent that starts again and does not understand, or cannot keep, what it remembers."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.linux.local_state import FileLocalState
from reconciler.binding import LeftoverDriver
from reconciler.decide.actions import LocalWant, Want
from reconciler.decide.records import Phase
from reconciler.loops.agent_loops import AgentLoops
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.state import AgentState
from reconciler.ports.driver import ResourceState
from specs.resource import Resource
from tests.decide.build import KEYS, Plain, Scene
from tests.loops.test_group_runner import GatedDriver, until
from tests.resources.memory_host import MemoryHost
from tests.resources.places import Recorder, permit
from tests.simulation.ports import SimLocalState


class Machine:
    def boot_id(self) -> str:
        return "n1-boot-1"


def agent(memory: dict[str, Any]) -> AgentState:
    return AgentState(
        me="n1",
        keys=KEYS,
        clock=MonotonicClock(),
        store=None,
        peers=None,
        machine=Machine(),
        events=Recorder(),
        local_state=SimLocalState({}, memory),
        rng=random.Random(1),
    )


def read(dumped: Mapping[str, Any]) -> Resource:
    if dumped["spec"]["type"] != "plain":
        raise ValueError("unknown type")
    spec = Plain.model_validate(dumped["spec"])
    return Resource.model_validate({**dumped, "spec": spec})


def dumped(name: str, kind: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"group": "web", "type": kind}}


async def test_an_unreadable_remembered_resource_is_held_to_be_stopped_and_stops_nobody() -> None:
    started = {
        "web": {
            "epoch": 3,
            "resources": {"old": dumped("old", "gone"), "ip": dumped("ip", "plain")},
        },
        "b": {"epoch": 2, "resources": {"c": dumped("c", "plain")}},
        "damaged": {"epoch": 0, "resources": {}},
    }
    state = agent({"started": started})
    loops = AgentLoops(
        state,
        make_driver=lambda _: GatedDriver(),
        read_resource=read,
        specs=None,
        power=None,
        prober=None,
        version="test",
        on_specs=lambda _: None,
        take_sample=None,
    )
    loops._adopt()
    assert sorted(loops.runners) == ["b", "damaged", "web"]
    assert sorted(loops.runners["web"].slots) == ["ip", "old"]
    assert loops.runners["web"].phase is not Phase.OFFLINE
    told = [f["group"] for n, f in state.events.events if n == "remembered_unreadable"]  # type: ignore[attr-defined]
    assert sorted(told) == ["damaged", "web"]


async def test_a_leftover_is_seen_and_stopped_by_its_name() -> None:
    host = MemoryHost()
    await host.network.add_address("10.77.2.100/24", "eth1", "old", permit(3))
    driver = LeftoverDriver(host, "old")
    seen = await driver.observe()
    assert (seen.state, seen.epoch) == (ResourceState.ACTIVE, 3)
    await driver.deactivate(2)
    assert (await driver.observe()).state is ResourceState.ACTIVE
    await driver.deactivate(3)
    assert (await driver.observe()).state is ResourceState.INACTIVE


def test_a_damaged_note_is_not_no_note(tmp_path: Any) -> None:
    state = FileLocalState(tmp_path / "state", tmp_path / "run")
    (tmp_path / "run" / "groups").mkdir(parents=True)
    (tmp_path / "run" / "groups" / "web.json").write_text("{")
    nothing = {"epoch": 0, "resources": {}, "on_store_loss": "stop"}
    assert state.started_groups() == {"web": nothing}


async def test_an_epoch_that_cannot_be_given_up_durably_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = agent({})
    state.specs = Scene().resource("address").snapshot().specs
    runner = GroupRunner("web", state, lambda _: GatedDriver())

    tries: list[int] = []

    def full(_group: str, epoch: int) -> None:
        tries.append(epoch)
        raise OSError("no space left on device")

    monkeypatch.setattr(state.local_state, "drop_epoch", full)
    task = asyncio.create_task(runner.run())
    runner.want(LocalWant(Want.RELEASE, 1, "moved"))
    await until(lambda: bool(tries))
    assert not task.done()
    assert state.dropped == {}
    monkeypatch.undo()
    await until(lambda: state.dropped == {"web": 1} and runner.phase is Phase.OFFLINE)
    assert runner.slots == {}
    task.cancel()
