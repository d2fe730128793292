"""Effects of the fence loop that cannot find out what they should: nothing is proven then."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from reconciler.adapters.clock import MonotonicClock
from reconciler.decide.actions import (
    AskMembers,
    Effect,
    ExecuteFence,
    PowerOn,
    ProbeAddresses,
)
from reconciler.decide.hearing import PeersView
from reconciler.decide.records import FenceIntent, FenceOutcome
from reconciler.loops.fence import FenceLoop
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, Wanted, always
from tests.decide.build import KEYS, Scene
from tests.resources.places import Recorder
from tests.simulation.ports import SimLocalState

DEADLINE_S = 10.0


class Device:
    """Counts its power-offs."""

    def __init__(self) -> None:
        self.commands = 0

    def device(self, level: Mapping[str, Any]) -> "Device":
        return self

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        self.commands += 1
        self.boots = boots
        return PowerOffReport(PowerState.ON, PowerState.OFF, "guid-n3", 1.0)


class DeafProber:
    async def probe(self, addresses: Sequence[str]) -> Mapping[str, str]:
        raise HostError("the network is down")


class Peers:
    def view(self) -> object:
        return Scene().silence("n3").snapshot().peers


class Machine:
    def boot_id(self) -> str:
        return "n1-boot-1"


class CountingStore:
    """Nobody answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def members(self, *, timeout_s: float) -> tuple[()]:
        self.asked += 1
        return ()


async def run(effect: Effect, store: object = None) -> tuple[AgentState, Device]:
    state = AgentState(
        me="n1",
        keys=KEYS,
        clock=MonotonicClock(),
        store=store,
        peers=Peers(),
        machine=Machine(),
        events=Recorder(),
        local_state=SimLocalState({}, {}),
        rng=random.Random(1),
    )
    state.specs = Scene().snapshot().specs
    device = Device()
    loop = FenceLoop(state, device, DeafProber())
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(2):
            loop.start((effect,))
            await asyncio.gather(*loop._tasks.values())
    return state, device


async def test_a_fence_whose_addresses_cannot_be_probed_proves_nothing_and_is_done_once() -> None:
    slot = Scene().slot("n3").fence_slot
    assert slot is not None
    intent: FenceIntent = slot.record
    state, device = await run(ExecuteFence(intent, 1, float("inf"), ("10.0.0.100",)))
    found = state.local_fences[intent.nonce]
    assert found.outcome is FenceOutcome.FAILED
    assert "the network is down" in found.detail
    assert device.commands == 1
    assert device.boots == ("n3-boot-1",)


async def test_of_several_boots_only_the_newest_is_ended_by_a_device_that_ends_boots() -> None:
    """The others are over with it; without a session nobody knows which one is the newest."""
    slot = Scene().slot("n3", covers=("n3-boot-0", "n3-boot-1")).fence_slot
    assert slot is not None
    intent: FenceIntent = slot.record
    _, device = await run(ExecuteFence(intent, 1, float("inf"), ()))
    assert device.boots == ()


async def test_a_probe_that_fails_says_so() -> None:
    state, _ = await run(ProbeAddresses("01", ("10.0.0.100",)))
    assert state.local_probes["01"].error == "the network is down"


async def test_members_that_are_away_are_not_asked_without_a_pause() -> None:
    """The simulator found it: the answer "nobody answers" asked for the next question at once."""
    store = CountingStore()
    await run(AskMembers(), store)
    assert store.asked == 1


class SecondOnly:
    """The first level is dead, the second one switches on."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def device(self, level: Mapping[str, Any]) -> "SecondOnly":
        self.asked.append(len(self.asked))
        return self

    async def power_on(self) -> None:
        if len(self.asked) == 1:
            raise FenceError("it did not answer")


async def test_a_server_is_switched_on_by_any_level_that_works() -> None:
    """A lab with a dead first level found it: fenced by the second one, it stayed off for ever."""
    state, _ = await run(AskMembers(), CountingStore())
    state.specs = Scene().server("n3", levels=2).snapshot().specs
    power = SecondOnly()
    async with asyncio.timeout(DEADLINE_S):
        loop = FenceLoop(state, power, DeafProber())  # type: ignore[arg-type]
        await loop._power_on(PowerOn("n3", 17.0))
    assert len(power.asked) == 2
    told = [name for name, _ in state.events.events]  # type: ignore[attr-defined]
    assert told == ["server_power_on_failed"]
    assert state.local_power_ons == {"n3": 17.0}


class Dead(SecondOnly):
    async def power_on(self) -> None:
        raise FenceError("it did not answer")


async def test_a_device_that_switches_nothing_on_says_nothing() -> None:
    state, _ = await run(AskMembers(), CountingStore())
    loop = FenceLoop(state, Dead(), DeafProber())  # type: ignore[arg-type]
    await loop._power_on(PowerOn("n3", 17.0))
    assert state.local_power_ons == {}


class QuietProber:
    async def probe(self, addresses: Sequence[str]) -> Mapping[str, str]:
        return {}


async def fenced_with_a_disk(last_heard_s: float, valid_s: float) -> FenceOutcome:
    """n3 was heard till its power went off; its last heartbeat is found on the disk (each 250 ms)
    so much later."""
    disk = {"name": "disk", "type": "disk", "devices": {"n1": "/dev/a", "n3": "/dev/a"}}
    scene, began, now = Scene(), 100.0, [100.0]
    scene.cluster["heartbeatPaths"] = [disk]
    slot = scene.slot("n3").fence_slot
    assert slot is not None

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    def view() -> PeersView:
        heard_at = min(now[0], began + last_heard_s)
        silent = now[0] - heard_at >= 4 * 0.25
        peers = scene.silence("n3").snapshot().peers
        seen = replace(peers.peers["n3"], heard_at=heard_at, suspect=silent, silent=silent)
        return replace(peers, peers={**peers.peers, "n3": seen})

    state: Any = SimpleNamespace(
        specs=scene.snapshot().specs,
        clock=SimpleNamespace(now=lambda: now[0], sleep=sleep),
        peers=SimpleNamespace(view=view),
        mirror=SimpleNamespace(maps={"sessions": {}}),
    )
    effect = ExecuteFence(slot.record, 1, began + valid_s, ())
    loop = FenceLoop(state, Device(), QuietProber())  # type: ignore[arg-type]
    return (await loop._power_off(effect))[0]


async def test_a_heartbeat_disk_neither_contradicts_nor_hurries_a_power_off() -> None:
    """Else what an operator asked for failed, and the next attempt found the power off already."""
    assert await fenced_with_a_disk(0.2, valid_s=10.0) is FenceOutcome.CONFIRMED_OFF
    assert await fenced_with_a_disk(0.3, valid_s=10.0) is FenceOutcome.CONTRADICTED
    assert await fenced_with_a_disk(0.2, valid_s=0.5) is FenceOutcome.CONTRADICTED, "no longer"
