"""Self-tests of fence devices while the specs change under them."""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from reconciler.loops.fence import FenceLoop
from reconciler.loops.state import AgentState
from reconciler.ports.power import SelfTest
from tests.decide.build import KEYS, Scene
from tests.resources.places import Recorder
from tests.simulation.ports import SimLocalState

DEADLINE_S = 10.0


class EagerClock:
    """Waiting takes no time."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class GatedDevice:
    """A device whose self-test ends when `gate` is set."""

    def __init__(self) -> None:
        self.gate, self.asked = asyncio.Event(), asyncio.Event()

    def device(self, level: Mapping[str, Any]) -> "GatedDevice":
        return self

    async def self_test(self) -> SelfTest:
        self.asked.set()
        await self.gate.wait()
        return SelfTest(True, "ok", 1.0)


class Machine:
    def boot_id(self) -> str:
        return "n1-boot-1"


async def test_a_device_that_leaves_the_specs_during_its_test_ends_nothing() -> None:
    state = AgentState(
        me="n1",
        keys=KEYS,
        clock=EagerClock(),
        store=None,
        peers=None,
        machine=Machine(),
        events=Recorder(),
        local_state=SimLocalState({}, {}),
        rng=random.Random(1),
    )
    state.specs = Scene().snapshot().specs
    device = GatedDevice()
    loop = FenceLoop(state, device, None)
    task = asyncio.create_task(loop.run_self_tests())
    async with asyncio.timeout(DEADLINE_S):
        await device.asked.wait()
        state.specs = Scene().server("n1", 0).server("n2", 0).server("n3", 0).snapshot().specs
        loop.forget_devices()
        device.gate.set()
        while loop.tests or not device.gate.is_set() or not state.events.events:
            assert not task.done(), task.exception()
            await asyncio.sleep(0)
    task.cancel()
