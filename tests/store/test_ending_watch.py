"""A watch that is over is over, whatever its stream does. `clusterctl agent release` hung once."""

import asyncio
from typing import Any, cast

import pytest

from clusterctl import picture
from reconciler.adapters.etcd import watch as etcd_watch
from reconciler.adapters.etcd import wire as etcd_wire
from reconciler.adapters.etcd.endpoints import Endpoints, Watermark
from reconciler.adapters.etcd.failure import AttemptFailed
from reconciler.adapters.etcd.watch import Watch, WatchTiming
from reconciler.ports.store import Listing, WatchBatch

DEADLINE_S = 10.0


class DeafStream:
    """Takes everything, answers nothing, and does not end when it is cancelled."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()

    async def open(self) -> None: ...

    async def ask_progress(self) -> None: ...

    async def read(self) -> Any:
        self.reading.set()
        await asyncio.Event().wait()

    def cancel(self) -> None: ...


class Member:
    is_closed = False
    down_since = None

    def __init__(self) -> None:
        self.stream = DeafStream()

    def in_order(self) -> list["Member"]:
        return [self]

    def wire(self) -> "Member":
        return self

    def watch(self, prefix: str, start: int) -> DeafStream:
        return self.stream


async def nothing(_: str) -> Listing:
    return Listing(1, ())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (etcd_watch, etcd_wire):
        monkeypatch.setattr(module, "_END_S", 0.05)
    monkeypatch.setattr(picture, "_END_WATCH_S", 0.05)


async def test_the_end_of_a_watch_waits_for_no_stream() -> None:
    member, found = Member(), list[WatchBatch]()
    endpoints = cast("Endpoints", member)
    made = Watch("/x/", endpoints, Watermark(), nothing, WatchTiming(progress_s=60.0)).batches()

    async def follow() -> None:
        async for batch in made:
            found.append(batch)

    async with asyncio.timeout(DEADLINE_S):
        task = asyncio.create_task(follow())
        await member.stream.reading.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.aclose()
    assert len(found) == 1


class EndlessCall:
    """A call that was used wrongly: it says so, and is not over."""

    cancelled = False

    async def code(self) -> Any:
        await asyncio.Event().wait()

    details = code

    def cancel(self) -> None:
        self.cancelled = True


async def test_the_reason_of_a_failure_is_not_waited_for_without_end() -> None:
    call = EndlessCall()
    async with asyncio.timeout(DEADLINE_S):
        failure = await etcd_wire._failure_of(call, asyncio.InvalidStateError("half closed"))
    assert isinstance(failure, AttemptFailed)
    assert "half closed" in str(failure)
    assert call.cancelled


class Stubborn:
    async def aclose(self) -> None:
        await asyncio.Event().wait()


async def test_no_command_waits_for_a_watch_that_does_not_end() -> None:
    async with asyncio.timeout(DEADLINE_S):
        await picture.close(cast("Any", Stubborn()))
