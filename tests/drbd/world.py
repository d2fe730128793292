"""DRBD as the adapter sees it: a kernel that is told, and a side whose programs are that kernel."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux import drbd
from reconciler.adapters.linux.drbd import LinuxDrbd
from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.drbd.state import Generations, State
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import Question

A, B = "AAAAAAAAAAAAAAA0", "BBBBBBBBBBBBBBB0"
FOLLOWS = State("Secondary", "UpToDate", "Connected", "Primary", "UpToDate", "Established")
BOTH = replace(FOLLOWS, role="Primary", peer_role="Secondary")
LOST = replace(BOTH, connection="Connecting", peer_disk="DUnknown", replication="Off")
FROZEN = replace(LOST, suspended=frozenset({"fencing"}))
PLAN = {"port": 7788, "peer": "n2", "peers": ["b"], "asynchronous": False, "limit": 0}


class Kernel:
    """DRBD as far as it is asked: its state, its ids, and what it was told."""

    def __init__(self) -> None:
        self.state, self.ids = FOLLOWS, Generations(A, consistent=True)
        self.told: list[str] = []
        self.marked: dict[str, bool] = {}
        self.failures: list[str] = []

    def tell(self, word: str) -> None:
        self.told.append(word)
        if word in self.failures:
            self.failures.remove(word)
            raise HostError(f"{word} failed")
        if word == "primary":
            self.state = replace(self.state, role="Primary", peer_role="Secondary")
        elif word == "secondary":
            self.state = replace(self.state, role="Secondary")
        elif word == "suspend-io":
            self.state = replace(self.state, suspended=frozenset({"user"}))
        elif word == "resume-io":
            self.state, self.ids = replace(self.state, suspended=frozenset()), Generations(B, A)
        elif word == "disconnect":
            self.state = replace(
                self.state,
                connection="StandAlone",
                peer_role="Unknown",
                peer_disk="DUnknown",
                replication="Off",
            )
        elif word == "verify":
            self.state = replace(self.state, replication="VerifyS")


class World:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = kernel = Kernel()
        self.engine = LinuxDrbd(directory, None, "boot")
        self.side = DrbdSide("data", directory / "mirrors" / "data")
        self.side.note(plan={**PLAN, "metadata": str(directory / "meta")}, epoch=0, refusal="")
        self.moved = asyncio.Event()

        class Side(DrbdSide):
            async def state(self) -> State | None:
                await asyncio.sleep(0)
                return kernel.state

            async def generations(self) -> Generations:
                await asyncio.sleep(0)
                return kernel.ids

            async def admin(self, *words: str) -> str:
                (word,) = (one for one in words if not one.startswith("-"))
                assert ("--force" in words) == (word == "disconnect")
                kernel.marked[word] = self.alone.exists()
                kernel.tell(word)
                await asyncio.sleep(0)
                return ""

        @asynccontextmanager
        async def watched(_: LinuxDrbd, __: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
            async def changed() -> None:
                await self.moved.wait()
                self.moved.clear()

            yield changed

        monkeypatch.setattr(drbd, "DrbdSide", Side)
        monkeypatch.setattr(LinuxDrbd, "_watched", watched)

    def move(self, state: State, ids: Generations | None = None) -> None:
        self.kernel.state, self.kernel.ids = state, ids or self.kernel.ids
        self.moved.set()


async def attended(world: World, answers: list[str | None], until: int) -> list[tuple[Any, ...]]:
    """What was asked, with whether the mark was there and what DRBD had been told by then."""
    asked: list[tuple[Any, ...]] = []
    done = asyncio.Event()

    async def decide(question: Question) -> str | None:
        mark, frozen = world.side.alone.exists(), bool(world.kernel.state.suspended)
        asked.append((question.kind, question.generation, mark, frozen))
        if len(asked) == until:
            done.set()
        return answers[len(asked) - 1]

    task = asyncio.create_task(world.engine.attend("data", decide))
    async with asyncio.timeout(5):
        await done.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    return asked
