"""What the act loop sends to the store, and what it believes afterwards."""

import asyncio
import random
from typing import Any

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.decide.actions import Decision, Effect, PowerOn, Write
from reconciler.decide.records import FenceOutcome, FenceRecord, Ownership, Phase
from reconciler.decide.snapshot import OwnSession, Snapshot
from reconciler.loops.act import CoordinationLoop, LocalLoop
from reconciler.loops.state import AgentState
from reconciler.ports.machine import ResetRefused
from reconciler.ports.store import CommitResult, Indeterminate, Put, Transaction
from tests.decide.build import KEYS, Scene, boot
from tests.resources.places import Recorder
from tests.simulation.ports import SimLocalState


class Machine:
    def __init__(self, server: str) -> None:
        self._server = server

    def boot_id(self) -> str:
        return boot(self._server)


class World:
    """A store, and agents without loops that act on it."""

    def __init__(self) -> None:
        self.clock = MonotonicClock()
        self.memory = MemoryState(self.clock)

    def agent(self, name: str, seed: int = 1) -> AgentState:
        return AgentState(
            me=name,
            keys=KEYS,
            clock=self.clock,
            store=MemoryStore(self.memory),
            peers=None,
            machine=Machine(name),
            events=Recorder(),
            local_state=SimLocalState({}, {}),
            rng=random.Random(seed),
        )

    def put(self, key: str, value: bytes) -> int:
        return self.memory.commit(Transaction((), (Put(key, value),))).revision


def snapshot(me: str) -> Snapshot:
    scene = Scene(me=me)
    scene.tables["sessions"].clear()
    scene.coordinator = None
    scene.own_session = OwnSession(me, 0, 0, scene.now + 9)
    return scene.snapshot()


async def test_what_another_coordinator_wrote_in_the_same_words_is_not_taken_for_ours() -> None:
    """Both ask n2 to release a; only one of them grants b. The other must not believe it did."""
    world = World()
    old = Ownership(nonce="of-the-grant", group="a", epoch=1, owner="n2")
    revision = world.put(KEYS.group("a"), old.to_bytes())
    asked = old.model_copy(update={"releasing": True})
    ask = Write(KEYS.group("a"), asked, revision)
    mine = Ownership(group="b", epoch=1, owner="n1", boot_id=boot("n1"))
    n1, n3 = world.agent("n1"), world.agent("n3", seed=2)
    assert await CoordinationLoop(n3, lambda _: None)._write(snapshot("n3"), Decision((ask,)))
    both = Decision((ask, Write(KEYS.group("b"), mine, 0)))
    assert not await CoordinationLoop(n1, lambda _: None)._write(snapshot("n1"), both)
    assert world.memory.get(KEYS.group("b")) is None
    assert "b" not in n1.mirror.maps["groups"]


class AnswersLost(MemoryStore):
    """Everything is stored, and nobody is told."""

    async def commit(self, transaction: Transaction, *, timeout_s: float) -> CommitResult:
        await super().commit(transaction, timeout_s=timeout_s)
        raise Indeterminate("the write may have happened")


async def test_what_belongs_to_a_write_is_done_even_if_its_answer_is_lost() -> None:
    """A fenced server stayed off for ever: that it is to be switched on was taken out of the record
    by a write whose answer got lost. Found by links that were cut one by one, seed 5."""
    world = World()
    off = FenceOutcome.CONFIRMED_OFF
    due = FenceRecord(server="n3", covers=(), outcome=off, executor="n1", power_on_due=True)
    revision = world.put(KEYS.fence("n3"), due.to_bytes())
    done = Write(KEYS.fence("n3"), due.model_copy(update={"power_on_due": False}), revision)
    n1, started = world.agent("n1"), list[Effect]()
    n1.store = AnswersLost(world.memory)
    loop = CoordinationLoop(n1, started.extend)
    decision = Decision(writes=(done,), after_commit=(PowerOn("n3"),))
    assert not await loop._write(snapshot("n1"), decision)
    assert started == [PowerOn("n3")]
    stored = world.memory.get(KEYS.fence("n3"))
    assert stored is not None
    assert not FenceRecord.from_bytes(stored.value).power_on_due


class Immovable(Machine):
    async def reset(self, reason: str) -> None:
        raise ResetRefused("the kernel refused the reset")


async def test_a_refused_reset_leaves_the_other_groups_their_loop(monkeypatch: Any) -> None:
    state = World().agent("n1")
    state.machine = Immovable("n1")
    scene = Scene().group("b").own("n1", releasing=True).own("n1", "b")
    scene.local("web", Phase.STOPPING, stuck="it does not go").local("b", Phase.ONLINE)
    monkeypatch.setattr(state, "snapshot", scene.snapshot)
    rounds: asyncio.Queue[object] = asyncio.Queue()
    task = asyncio.create_task(LocalLoop(state, rounds.put_nowait).run())
    async with asyncio.timeout(10):
        for _ in range(3):
            await rounds.get()
    assert not task.done()
    task.cancel()
    names = [name for name, _ in state.events.events]  # type: ignore[attr-defined]
    assert names == ["machine_reset", "machine_reset_refused"]
