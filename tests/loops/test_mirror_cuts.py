"""An engine hears from the pulse that its other side is gone: once for each silence."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from reconciler.loops.mirror_cuts import MirrorCuts, mirrors_without
from tests.decide.build import Scene
from tests.loops.test_act import World
from tests.resources.memory_disks import MemoryMirrors


def mirrored() -> Scene:
    return Scene().group("web", servers=["n1", "n2"]).mirrored().copies("n1", "n2")


def test_only_mirrors_whose_other_side_is_silent_are_cut() -> None:
    snapshot = mirrored().snapshot()

    def cut(*silent: str, new: str) -> list[str]:
        return mirrors_without(snapshot, frozenset(silent), frozenset({new}))

    assert cut("n2", new="n2") == ["data"]
    assert cut("n3", new="n3") == []
    assert cut("n2", "n3", new="n3") == []


async def test_each_silence_cuts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, mirrors = mirrored(), MemoryMirrors()
    scene.hear("n2")
    state = World().agent("n1")
    monkeypatch.setattr(state, "snapshot", scene.snapshot)
    monkeypatch.setattr(state, "peers", SimpleNamespace(view=lambda: scene.snapshot().peers))
    task = asyncio.create_task(MirrorCuts(state, mirrors).run())

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                state.wake()
                await asyncio.sleep(0.001)

    async def turns() -> None:
        for _ in range(10):
            state.wake()
            await asyncio.sleep(0)

    mirrors.running.add("data")
    await turns()
    assert mirrors.asked == []
    scene.silence("n2")
    await until(lambda: bool(mirrors.asked))
    await turns()
    assert [(name, request["do"]) for name, request in mirrors.asked] == [("data", "cut")]
    scene.hear("n2")
    await turns()
    scene.silence("n2")
    await until(lambda: len(mirrors.asked) == 2)
    task.cancel()
    await asyncio.wait([task])
