"""Effects of the fence loop that cannot find out what they should: nothing is proven then."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.adapters.clock import MonotonicClock
from reconciler.decide.actions import AskMembers, Effect, ExecuteFence, ProbeAddresses
from reconciler.decide.records import FenceIntent, FenceOutcome
from reconciler.loops.fence import FenceLoop
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.power import FenceError, PowerOffReport, PowerState
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

    async def power_off(self, valid_until: float) -> PowerOffReport:
        self.commands += 1
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
        await FenceLoop(state, power, DeafProber())._power_on("n3")  # type: ignore[arg-type]
    assert len(power.asked) == 2
    told = [name for name, _ in state.events.events]  # type: ignore[attr-defined]
    assert told == ["server_power_on_failed"]
