"""Final actions are counted before they are taken, and what does not obey is reset."""

import random
from typing import Any

import pytest

from reconciler.decide.actions import ActOnMachine, ForgetMachineActions
from reconciler.decide.records import Operation, Phase
from reconciler.decide.snapshot import LocalGroup, PastAction
from reconciler.loops.machine import MachineHand
from reconciler.loops.state import AgentState
from reconciler.ports.machine import ResetRefused
from reconciler.ports.power import FenceError
from reconciler.ports.store import Put, Transaction, Unavailable
from tests.decide.build import KEYS, Scene
from tests.simulation.ports import SimLocalState


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 5000.0 + self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Events:
    def __init__(self) -> None:
        self.names: list[str] = []

    def emit(self, name: str, **_: Any) -> None:
        self.names.append(name)


class Machine:
    """`obeys` nothing of what is not in it."""

    def __init__(self, *obeys: str) -> None:
        self.obeys, self.told = obeys, []

    def boot_id(self) -> str:
        return "n1-boot-1"

    def _tell(self, word: str) -> None:
        self.told.append(word)
        if word not in self.obeys:
            raise ResetRefused("no")

    async def reset(self, reason: str) -> None:
        self._tell("reset")

    async def power_off(self, reason: str) -> None:
        self._tell("power-off")

    async def crash(self, reason: str) -> None:
        self._tell("crash")


class Store:
    """Takes what is written; `away`: nothing."""

    def __init__(self) -> None:
        self.written: list[Operation] = []
        self.away = False

    async def commit(self, transaction: Transaction) -> None:
        if self.away:
            raise Unavailable("away")
        for operation in transaction.operations:
            assert isinstance(operation, Put)
            self.written.append(Operation.from_bytes(operation.value))


class Power:
    """This server's own fence device."""

    cycles = 0
    works = True

    def device(self, level: object) -> "Power":
        return self

    async def power_cycle(self) -> None:
        self.cycles += 1
        if not self.works:
            raise FenceError("dead")


class Agent:
    def __init__(self, *obeys: str, disk: dict[str, Any] | None = None) -> None:
        self.machine, self.events, self.store = Machine(*obeys), Events(), Store()
        self.power, self.clock = Power(), Clock()
        self.disk = {} if disk is None else disk
        self.state = AgentState(
            me="n1",
            keys=KEYS,
            clock=self.clock,
            store=self.store,  # type: ignore[arg-type]
            peers=None,  # type: ignore[arg-type]
            machine=self.machine,
            events=self.events,
            local_state=SimLocalState(self.disk, {}),
            rng=random.Random(1),
        )
        self.state.specs = Scene("n1").server("n1").snapshot().specs
        self.hand = MachineHand(self.state, self.power)  # type: ignore[arg-type]


async def test_it_is_counted_durably_before_it_is_done() -> None:
    agent = Agent("crash")
    await agent.hand.take("crash", "it broke", "web/3")
    assert agent.machine.told == ["crash"]
    assert agent.disk["actions"] == (PastAction("crash", "it broke", 5100.0, "web/3"),)
    again = Agent(disk=agent.disk)
    assert again.state.machine_actions == agent.state.machine_actions


async def test_what_cannot_be_counted_is_not_done() -> None:
    agent = Agent("crash", disk={"full": True})
    await agent.hand.take("crash", "it broke")
    assert agent.machine.told == []
    assert agent.events.names == ["machine_action_suppressed"]


@pytest.mark.parametrize(("action", "word"), [("shutdown", "power-off"), ("reboot", "reset")])
async def test_groups_may_leave_first_and_the_store_is_told(action: str, word: str) -> None:
    agent = Agent(word)
    await agent.hand.take(action, "it broke")
    (wish,) = agent.store.written
    assert (wish.kind, wish.target, wish.boot_id) == ("drain", "server/n1", "n1-boot-1")
    assert agent.machine.told == [word]


@pytest.mark.parametrize("away", [False, True])
async def test_groups_that_do_not_leave_hold_it_up_for_a_bounded_time(away: bool) -> None:
    agent = Agent("power-off")
    agent.store.away = away
    agent.state.local_groups["web"] = LocalGroup("web", 1, Phase.ONLINE)
    await agent.hand.take("shutdown", "it broke")
    assert agent.machine.told == ["power-off"]
    assert 20.0 <= agent.clock.now() - 100.0 < 22.0


async def test_one_that_does_not_wait_leaves_the_groups_where_they_are() -> None:
    agent = Agent("power-off")
    agent.state.local_groups["web"] = LocalGroup("web", 1, Phase.ONLINE)
    await agent.hand.take("power-off", "it broke")
    assert agent.store.written == []
    assert agent.clock.now() < 102.0


@pytest.mark.parametrize("action", ["crash", "shutdown", "power-off"])
async def test_what_does_not_obey_is_reset(action: str) -> None:
    agent = Agent("reset")
    await agent.hand.take(action, "it broke")
    assert agent.machine.told[-1] == "reset"
    assert "machine_reset_refused" in agent.events.names


@pytest.mark.parametrize("works", [True, False])
async def test_a_power_cycle_goes_through_the_servers_own_device(works: bool) -> None:
    agent = Agent("reset")
    agent.power.works = works
    await agent.hand.take("power-cycle", "it broke")
    assert agent.power.cycles == 1
    assert agent.machine.told == ["reset"], "still here: it did not work"


async def test_the_agent_ends_only_when_nothing_runs_any_more() -> None:
    agent = Agent()
    await agent.hand.take("stop-agent", "it broke")
    assert agent.state.ended.is_set()
    stuck = Agent()
    stuck.state.local_groups["web"] = LocalGroup("web", 1, Phase.ONLINE)
    await stuck.hand.take("stop-agent", "it broke")
    assert not stuck.state.ended.is_set()


async def test_an_obstacle_is_told_once_and_a_clear_forgets() -> None:
    agent = Agent()
    effect = ActOnMachine("reboot", "it broke", "web/3", "this is the last healthy server")
    for _ in range(3):
        await agent.hand.obey(effect)
    assert agent.events.names == ["machine_action_suppressed"]
    assert agent.machine.told == []
    agent.state.remember_actions((PastAction("crash", "", 1.0), PastAction("crash", "", 3.0)))
    await agent.hand.obey(ForgetMachineActions(2.0))
    assert agent.state.machine_actions == (PastAction("crash", "", 3.0),)
