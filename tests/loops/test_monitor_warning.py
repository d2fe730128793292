"""A probe that is healthy and warns: told once, shown, and no reason to recover anything."""

import asyncio
from types import SimpleNamespace
from typing import Any

from reconciler.decide.monitor_status import monitor_view
from reconciler.decide.records import MonitorState, MonitorStatus, Session
from reconciler.decide.stored import StoredRecords
from reconciler.loops.monitor import MonitorRun
from reconciler.ports.probes import Sample
from specs.document import Metadata
from specs.monitor import Monitor, MonitorSpec
from tests.resources.places import RealClock, Recorder

WARNED = Sample(True, "one of two ways is silent", warning=True)


class State:
    def __init__(self) -> None:
        self.me, self.clock, self.events = "n1", RealClock(), Recorder()
        self.specs = SimpleNamespace(revision=1)
        self.monitors: dict[str, MonitorStatus] = {}

    def snapshot(self) -> Any:
        return SimpleNamespace(ownerships={})

    def wake(self) -> None: ...


async def seen(*samples: Sample) -> tuple[State, list[str]]:
    """What is told while these are the probes, one after the other."""
    state, left, ended = State(), list(samples), asyncio.Event()
    spec = MonitorSpec(type="plain", target="server", timing="always", interval=0.1)

    async def take(monitor: Monitor, specs: Any) -> Sample:
        if not left:
            ended.set()
            await asyncio.Event().wait()
        return left.pop(0)

    monitor = Monitor(metadata=Metadata(name="m"), spec=spec)
    run = MonitorRun(monitor, state, dict, take, lambda _: True, None)  # type: ignore[arg-type]
    task = asyncio.create_task(run.run())
    async with asyncio.timeout(30):
        await ended.wait()
    task.cancel()
    await asyncio.wait({task})
    return state, [name for name, _ in state.events.events]


async def test_it_is_told_once_and_its_end_too() -> None:
    state, told = await seen(Sample(True, "fine"), WARNED, WARNED, Sample(True, "fine"))
    assert told == ["monitor_warned", "monitor_warning_ended"]
    assert not state.monitors["m"].warning


async def test_a_warning_is_healthy() -> None:
    state, _ = await seen(WARNED)
    status = state.monitors["m"]
    assert status.state is MonitorState.HEALTHY
    assert status.warning
    assert status.failures == 0
    session = Session(server="n1", boot_id="b", incarnation="i", lease=1)
    records = StoredRecords(sessions={"n1": session}, monitor_status={("n1", "m"): status})
    view = monitor_view("m", records)
    assert view.to_json()["warning"] is True
    assert view.to_json()["reasons"] == ["one of two ways is silent"]


async def test_what_is_worse_is_shown_in_its_place() -> None:
    state, _ = await seen(WARNED)
    status = state.monitors["m"]
    faulty = status.model_copy(update={"server": "n2", "state": MonitorState.FAULTY})
    sessions = {n: Session(server=n, boot_id="b", incarnation="i", lease=1) for n in ("n1", "n2")}
    found = {("n1", "m"): status, ("n2", "m"): faulty}
    view = monitor_view("m", StoredRecords(sessions=sessions, monitor_status=found))
    assert view.warned is None
    assert view.state is MonitorState.FAULTY
