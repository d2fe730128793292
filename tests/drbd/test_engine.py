"""The adapter's order of steps: no mark, and no promotion, ever says more than the record."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.linux import drbd
from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.adapters.linux.mirror_engines import LinuxMirrorEngines
from reconciler.drbd.state import State
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan, Question
from tests.drbd.world import BOTH, FOLLOWS, FROZEN, LOST, A, B, Kernel, World, attended


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


async def test_a_promotion_marks_first_and_uses_no_force(world: World) -> None:
    generation = await world.engine.prepare("data", "")
    assert generation == A
    await world.engine.promote("data", 5, generation)
    assert world.kernel.told == ["disconnect", "primary", "connect"]
    assert world.kernel.marked == {"disconnect": True, "primary": True, "connect": True}
    view = await world.engine.view("data")
    assert view is not None
    assert (view.serves, view.epoch) == (True, 5)


async def test_another_generation_is_not_promoted(world: World) -> None:
    with pytest.raises(HostError, match="another generation"):
        await world.engine.promote("data", 5, "C" * 16)
    assert world.kernel.told == []


async def test_nothing_is_done_to_a_peer_that_serves_before_the_record_is_written(
    world: World,
) -> None:
    """A start that will be refused must not cost the owner its other side."""
    await world.engine.prepare("data", "")
    assert world.kernel.told == []


async def test_a_service_that_ended_leaves_no_mark(world: World) -> None:
    world.move(BOTH)
    world.side.alone.touch()
    stopped = await world.engine.stop("data", 0.1)
    assert (stopped.clean, stopped.handed_over) == (True, False), "the record named this side alone"
    assert not world.side.alone.exists()
    world.move(BOTH)
    assert (await world.engine.stop("data", 0.1)).handed_over


async def test_frozen_writes_go_on_only_after_the_record_was_written(world: World) -> None:
    world.move(FROZEN)
    asked = await attended(world, [None, None], until=2)
    assert asked == [("alone", A, False, True), ("alone", B, True, False)]
    assert world.kernel.told == ["resume-io"]
    assert world.side.alone.exists()


async def test_a_refusal_leaves_them_frozen_and_ends_the_service(world: World) -> None:
    world.move(FROZEN)
    await attended(world, ["another server owns the group"], until=1)
    assert world.kernel.told == []
    assert not world.side.alone.exists()
    view = await world.engine.view("data")
    assert view is not None
    assert view.over == "another server owns the group"
    with pytest.raises(HostError, match="cannot let them fail"):
        await world.engine.abort("data", "it is stopped")


async def test_a_peer_without_its_disk_freezes_them_first(world: World) -> None:
    world.move(replace(BOTH, peer_disk="Diskless"))
    asked = await attended(world, [None, None], until=1)
    assert asked[0] == ("alone", A, False, True)
    assert world.kernel.told[:2] == ["suspend-io", "resume-io"]


async def test_what_fails_on_the_way_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes wait meanwhile: without the next try they would wait for ever."""
    monkeypatch.setattr(drbd, "RETRY_S", 0.0)
    world.kernel.failures = ["resume-io", "resume-io"]
    world.move(FROZEN)
    asked = await attended(world, [None] * 4, until=4)
    assert [kind for kind, *_ in asked] == ["alone"] * 4
    assert world.kernel.told == ["resume-io"] * 3
    assert not world.kernel.state.suspended


async def test_a_side_that_lost_its_disk_is_over(world: World) -> None:
    world.move(replace(BOTH, disk="Diskless"))
    view = await world.engine.view("data")
    assert view is not None
    assert "disk failed" in view.over


async def test_the_mark_goes_before_both_are_named(world: World) -> None:
    """Else DRBD would go on by itself after the record says that the other side is current, too."""
    world.side.alone.touch()
    world.move(BOTH)
    asked = await attended(world, [None, None], until=2)
    assert asked == [("alone", A, True, False), ("both", A, False, False)]
    assert not world.side.alone.exists()


async def test_a_peer_that_is_lost_before_the_mark_went_is_not_named(world: World) -> None:
    """DRBD saw the mark and went on alone: what it acknowledged since, only this side has."""
    world.side.alone.touch()
    world.side.note(told=A)
    world.move(BOTH)
    looks = 0

    class Losing(Kernel):
        @property
        def state(self) -> State:  # type: ignore[override]
            nonlocal looks
            looks += 1
            return BOTH if looks == 1 else LOST

        @state.setter
        def state(self, _: State) -> None: ...

    world.kernel.__class__ = Losing
    asked: list[str] = []

    async def decide(question: Question) -> str | None:
        asked.append(question.kind)
        return None

    task = asyncio.create_task(world.engine.attend("data", decide))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert "both" not in asked
    assert world.side.alone.exists(), "the record still names this side alone"


async def test_an_attendance_that_begins_again_asks_nothing_twice(world: World) -> None:
    """At each stop of the group one begins: a planned move needs both named until its end."""
    world.side.alone.touch()
    world.move(BOTH)
    await attended(world, [None, None], until=2)
    asked: list[str] = []

    async def decide(question: Question) -> str | None:
        asked.append(question.kind)
        return None

    task = asyncio.create_task(world.engine.attend("data", decide))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert asked == []


async def test_the_engine_of_this_boot_answers_whatever_the_spec_says(
    world: World, tmp_path: Path
) -> None:
    engines = LinuxMirrorEngines(tmp_path, None, "boot")
    world.move(BOTH)
    view = await engines.view("data")
    assert view is not None
    assert view.details["engine"] == "drbd"
    plan = MirrorPlan("data", "n1", "n2", "/d", "/m", 1 << 26, 7788, ("a",), ("b",))
    with pytest.raises(HostError, match="other engine serves"):
        await engines.ensure(plan)
    world.move(FOLLOWS)
    with pytest.raises(HostError, match="cluster key"):
        await engines.ensure(plan)  # our own one would start now
    assert world.kernel.told == ["disconnect", "down"]
    assert not engines._drbd.has("data")


async def test_after_a_split_brain_only_the_side_that_serves_tries_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(DrbdSide, "set_up", nothing)
    plan = MirrorPlan("data", "n1", "n2", "/d", "/m", 1 << 26, 7788, ("a",), ("b",), engine="drbd")
    world.side.split.touch()
    world.move(replace(FOLLOWS, connection="StandAlone"))
    await world.engine.ensure(plan)
    world.move(replace(LOST, connection="StandAlone"))
    await world.engine.ensure(plan)
    assert world.kernel.told == [], "not at once, either"
    os.utime(world.side.split, (0, 0))
    await world.engine.ensure(plan)
    await world.engine.ensure(plan)
    assert world.kernel.told == ["connect"]
    assert world.side.split.exists()
    world.move(BOTH)
    await world.engine.ensure(plan)
    assert not world.side.split.exists()
