"""Each side of a mirror tells what it is like, and does what operators want of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from reconciler.decide.mirror_status import MirrorCheck
from reconciler.decide.records import OperationKind, OperationPhase
from reconciler.loops.mirror_care import MirrorCare, side, unfit
from reconciler.loops.state import AgentState
from reconciler.mirror.header import Header
from reconciler.ports.mirrors import EngineView
from tests.decide.build import Scene
from tests.loops.test_act import World
from tests.resources.memory_disks import MemoryMirrors

HEADER = Header("data", 16 << 20, "g2", bases=("g1",), fresh=False)
KIND = OperationKind


def view(serves: bool = False, boot: str = "now", **more: object) -> EngineView:
    header = replace(HEADER, **more)  # type: ignore[arg-type]
    return EngineView(serves, 3 if serves else 0, "", False, "/run/x", header, boot)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (view(), ""),
        (view(isolated=True), "isolated"),
        (view(order_kept=True, clean=False, boot="before"), "lost power"),
        (view(serves=True, isolated=True), ""),
        (replace(view(), over="its disk failed: EIO"), "its disk failed"),
        (view(consistent=False), ""),  # the record says so, and may know better by now
    ],
)
def test_what_speaks_against_a_side_besides_the_record(found: EngineView, reason: str) -> None:
    found = replace(found, boot="now") if found.boot == "before" else found
    assert reason in unfit(found)
    assert bool(unfit(found)) is bool(reason)


def test_the_age_of_a_copy_is_told_where_it_has_one() -> None:
    def as_of(**details: object) -> object:
        return side(replace(view(), details=details))["as_of_wall"]

    assert as_of(data_as_of=1003.2, connected=True, asynchronous=True) == 1000.0
    assert as_of(data_as_of=1003.2, connected=True, asynchronous=False) is None
    assert as_of(data_as_of=1003.2, connected=False) == 1003.2
    assert as_of(data_as_of=None) is None


def test_a_comparison_is_told_in_the_parts_of_its_engine() -> None:
    def check(**said: object) -> MirrorCheck:
        details = {"verify": {"id": "x", "done": 7, "ended": "done", **said}}
        found = side(replace(view(serves=True), details=details))["check"]
        assert isinstance(found, MirrorCheck)
        return found

    own = check(different=[0, 1 << 20])
    assert (own.operation, own.done, own.different, own.part) == ("x", 7, 2, 1 << 20)
    drbd = check(different=3, part=4096, repair=False, generation="A")
    assert (drbd.different, drbd.part) == (3, 4096)


class Cared:
    """The loop of n2, on a scene and a stand-in of its engines."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        scene.me = "n2"
        self.scene, self.mirrors = scene, MemoryMirrors()
        self.state: AgentState = World().agent("n2")
        monkeypatch.setattr(self.state, "snapshot", scene.snapshot)
        self.published = 0
        self.loop = MirrorCare(self.state, self.mirrors, self._publish)

    def _publish(self) -> None:
        self.published += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.state.wake()
                await asyncio.sleep(0.005)


def mirrored() -> Scene:
    return Scene().group("web", servers=["n1", "n2"]).mirrored().copies("n1", "n2")


async def test_a_side_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cared = Cared(mirrored(), monkeypatch)
    async with cared.running():
        await cared.until(lambda: "data" in cared.state.mirror_sides)
    assert not cared.state.mirror_sides["data"].engine


async def test_other_servers_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cared = Cared(mirrored().group("web", servers=["n1", "n3"]), monkeypatch)
    async with cared.running():
        await cared.until(lambda: cared.state.mirror_sides_known)
    assert cared.state.mirror_sides == {}


async def test_a_wish_is_carried_out_once_and_its_result_stays_until_it_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cared = Cared(mirrored(), monkeypatch)
    cared.mirrors.headers["data"] = HEADER
    running = {"to": "n2", "phase": OperationPhase.RUNNING}
    async with cared.running():
        await cared.until(lambda: "data" in cared.state.mirror_sides)
        cared.scene.operation(KIND.MIRROR_PROMOTE, "resource/data", id="01", **running)
        cared.scene.operation(KIND.MIRROR_VERIFY, "resource/data", id="02", to="n1")
        await cared.until(lambda: bool(cared.state.mirror_sides["data"].results))
        (result,) = cared.state.mirror_sides["data"].results
        assert (result.operation, result.ok, result.generation) == ("01", True, "g2")
        published = cared.published
        await cared.until(lambda: len(cared.mirrors.asked) >= 1)
        cared.scene.operation(
            KIND.MIRROR_PROMOTE, "resource/data", id="01", phase=OperationPhase.DONE
        )
        await cared.until(lambda: not cared.state.mirror_sides["data"].results)
    assert cared.published > published
    (asked,) = cared.mirrors.asked
    assert asked == ("data", {"do": "accept", "confirm": "data", "who": "alice", "id": "01"})


async def test_what_an_engine_refuses_ends_the_wish_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cared = Cared(mirrored(), monkeypatch)
    cared.scene.operation(
        KIND.MIRROR_ISOLATE, "resource/data", to="n2", phase=OperationPhase.RUNNING, for_s=60
    )
    async with cared.running():
        await cared.until(lambda: "data" in cared.state.mirror_sides)
    (result,) = cared.state.mirror_sides["data"].results
    assert (result.ok, result.text) == (False, "its engine does not run")


async def test_a_side_that_lost_the_other_one_knows_up_to_when_it_had_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cared = Cared(mirrored(), monkeypatch)
    connected = replace(view(), details={"connected": True})
    status = cared.loop._status
    cared.loop._looked_wall = 1000.1239
    assert status("data", connected).as_of_wall is None
    assert status("data", replace(view(), details={"connected": False})).as_of_wall == 1000.123
    # the next agent of this server finds it in what the last one told
    after = Cared(mirrored(), monkeypatch)
    told = status("data", connected)
    after.state.mirror.mirror_status["n2", "data"] = told
    assert after.loop._status("data", view()).as_of_wall == told.at_wall
    assert after.loop._status("data", view(serves=True)).as_of_wall is None
