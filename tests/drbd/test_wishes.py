"""What operators ask of a mirror with DRBD."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux import drbd_side
from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.drbd.state import Generations
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan
from tests.drbd.world import BOTH, FOLLOWS, LOST, A, World, attended

CHECKSUM = {"do": "resync", "how": "checksum", "id": "y"}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(drbd_side, "_kernel_says", lambda: "")
    return World(tmp_path, monkeypatch)


async def _check(world: World) -> dict[str, Any]:
    view = await world.engine.view("data")
    assert view is not None
    return dict(view.details["verify"])


async def test_a_comparison_is_told_until_its_end_and_after(world: World) -> None:
    world.move(BOTH)
    await world.engine.ask("data", {"do": "verify", "id": "x"})
    said = await _check(world)
    assert (said["id"], said["ended"], said["part"]) == ("x", "", 4096)
    world.move(replace(BOTH, out_of_sync=8192))
    assert ((await _check(world))["ended"], (await _check(world))["different"]) == ("done", 2)
    world.move(LOST)
    assert (await _check(world))["different"] == 2


async def test_a_look_that_was_begun_before_a_comparison_does_not_end_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.move(BOTH)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def generations(_: DrbdSide) -> Generations:
        if not begun.is_set():
            begun.set()
            await goes_on.wait()
        return world.kernel.ids

    monkeypatch.setattr("reconciler.adapters.linux.drbd.DrbdSide.generations", generations)
    look = asyncio.create_task(world.engine.view("data"))
    await begun.wait()
    await world.engine.ask("data", {"do": "verify", "id": "x"})
    goes_on.set()
    await look
    assert (await _check(world))["ended"] == ""


@pytest.mark.parametrize("request_", [{"do": "verify"}, CHECKSUM])
async def test_only_the_serving_side_of_a_whole_mirror_compares(
    world: World, request_: dict[str, Any]
) -> None:
    for state in (FOLLOWS, LOST, replace(BOTH, replication="VerifyS")):
        world.move(state)
        with pytest.raises(HostError):
            await world.engine.ask("data", request_)
    assert world.kernel.told == []


async def test_what_differs_is_copied_when_they_meet_again(world: World) -> None:
    """Not before the record names this side alone, with writes stopped."""
    world.move(BOTH)
    await attended(world, [None, None], until=2)  # both are named
    await world.engine.ask("data", CHECKSUM)
    world.move(replace(BOTH, out_of_sync=4096))
    await _check(world)
    world.kernel.told.clear()
    asked = await attended(world, [None, None], until=2)
    assert asked[0] == ("alone", A, False, True)
    assert world.kernel.told == ["suspend-io", "disconnect", "resume-io"]
    assert world.kernel.marked["disconnect"]
    assert (await _check(world))["different"] == 1
    assert not (await _check(world))["repair"], "once is enough"


async def test_equal_sides_are_not_parted(world: World) -> None:
    world.move(BOTH)
    await attended(world, [None, None], until=2)
    await world.engine.ask("data", CHECKSUM)
    world.move(BOTH)
    assert (await _check(world))["ended"] == "done"
    world.kernel.told.clear()
    asked: list[str] = []

    async def decide(question: Any) -> None:
        asked.append(question.kind)

    task = asyncio.create_task(world.engine.attend("data", decide))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert (asked, world.kernel.told) == ([], [])


async def test_a_copy_of_everything_goes_from_the_side_that_serves(world: World) -> None:
    with pytest.raises(HostError, match="ask the other one"):
        await world.engine.ask("data", {"do": "resync", "how": "full"})
    world.move(LOST)
    with pytest.raises(HostError, match="not connected"):
        await world.engine.ask("data", {"do": "resync", "how": "full"})
    world.move(BOTH)
    await world.engine.ask("data", {"do": "resync", "how": "full"})
    assert world.kernel.told == ["invalidate-remote"]


async def test_a_snapshot_ends_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(DrbdSide, "set_up", nothing)
    plan = MirrorPlan("data", "n1", "n2", "/d", "/m", 1 << 26, 7788, ("a",), ("b",), engine="drbd")
    await world.engine.ask("data", {"do": "isolate", "seconds": 60.0})
    await world.engine.ensure(plan)
    assert world.kernel.told == ["disconnect"]
    view = await world.engine.view("data")
    assert view is not None
    assert view.header.isolated
    assert view.header.isolated_until == world.side.notes()["isolated_until"]
    world.side.note(isolated_until=1.0)
    await world.engine.ensure(plan)
    assert world.kernel.told == ["disconnect", "connect"]
    view = await world.engine.view("data")
    assert view is not None
    assert not view.header.isolated


async def test_a_snapshot_is_left_alone_when_its_spec_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To set it up anew would connect it."""
    told: list[str] = []

    class Side(DrbdSide):
        async def state(self) -> Any:
            await asyncio.sleep(0)
            return FOLLOWS

        async def admin(self, *words: str) -> str:
            await asyncio.sleep(0)
            told.append(" ".join(words))
            return ""

        async def _version(self) -> tuple[int, int]:
            await asyncio.sleep(0)
            return 8, 4

    side = Side("data", tmp_path)
    side.note(plan={}, isolated=True, isolated_until=1.0)
    plan = MirrorPlan("data", "n1", "n2", "/d", "/m", 1 << 26, 7788, ("a",), ("b",), engine="drbd")
    await side.set_up(plan, None)
    assert told == []
    side.note(isolated=False)
    with pytest.raises(HostError, match="cluster key"):
        await side.set_up(plan, None)
    assert told == ["disconnect --force", "down"], "in agreement it would be marked as outdated"


@pytest.mark.parametrize("do", ["isolate", "discard", "accept"])
async def test_the_side_that_serves_is_not_set_aside(world: World, do: str) -> None:
    world.move(BOTH)
    with pytest.raises(HostError, match="serves"):
        await world.engine.ask("data", {"do": do, "confirm": "data", "seconds": 60.0})
    assert world.kernel.told == []


@pytest.mark.parametrize("do", ["discard", "accept"])
async def test_data_is_given_up_by_name_only(world: World, do: str) -> None:
    with pytest.raises(HostError, match="must be repeated"):
        await world.engine.ask("data", {"do": do})
    assert world.kernel.told == []


async def test_what_is_not_offered_is_said(world: World) -> None:
    with pytest.raises(HostError, match="does not offer 'limit'"):
        await world.engine.ask("data", {"do": "limit", "bytes": 1})
