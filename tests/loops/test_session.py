"""When an agent makes its session, and what that tells the others."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.decide.hearing import PeersView
from reconciler.loops.session import WATCHDOG_WAIT_S, SessionLoop
from reconciler.loops.state import AgentState
from specs.server import WatchdogSpec
from tests.decide.build import Scene


class Granted(Exception):
    """The store was asked for a lease."""


def create(*, age_s: float, armed_s: float, wanted: bool = True) -> None:
    scene = Scene()
    scene.tables["sessions"].pop("n1")
    scene.own_session = None
    if wanted:
        spec = scene.servers["n1"].spec.model_copy(update={"watchdog": WatchdogSpec(timeout=2)})
        scene.servers["n1"] = scene.servers["n1"].model_copy(update={"spec": spec})
    scene.pulse["watchdog_s"] = armed_s

    async def grant(_: float) -> None:
        raise Granted

    async def sleep(_: float) -> None:
        return

    snapshot = scene.snapshot()
    state: Any = SimpleNamespace(
        me="n1",
        boot_id=snapshot.boot_id,
        started_at=0.0,
        known_store=None,
        clock=SimpleNamespace(now=lambda: age_s, sleep=sleep),
        store=SimpleNamespace(grant=grant),
    )
    asyncio.run(SessionLoop(state, "1")._create(snapshot))


def test_a_session_waits_for_the_watchdog_that_it_shall_tell_of() -> None:
    create(age_s=0.1, armed_s=0.0)
    with pytest.raises(Granted):
        create(age_s=0.1, armed_s=2.0)
    with pytest.raises(Granted):
        create(age_s=0.1, armed_s=0.0, wanted=False)


def test_a_watchdog_that_cannot_be_armed_keeps_no_server_away() -> None:
    with pytest.raises(Granted):
        create(age_s=WATCHDOG_WAIT_S, armed_s=0.0)


class Pausing:
    """Peers whose pulse stands still while `paused`."""

    def __init__(self) -> None:
        self.paused = False

    def view(self) -> PeersView:
        return PeersView(taken_at=0.0, pulse_alive=True, paused=self.paused)


def test_a_renewal_is_due_at_once_when_a_pause_has_ended_and_not_before() -> None:
    """What was granted meanwhile waits for it: up to a whole interval of renewals otherwise."""
    peers = Pausing()
    state = AgentState.__new__(AgentState)
    state.renewal_due = asyncio.Event()
    state.proof_at, state.stood_still_at, state._looked_at = 5.0, float("-inf"), 5.0

    def look(now: float) -> bool:
        state._note_pause(peers.view(), now)
        return state.renewal_due.is_set()

    assert not look(5.05)
    peers.paused = True
    assert not look(5.1)
    peers.paused = False
    assert look(5.15)
    state.renewal_due.clear()
    state.proof_at = 5.12
    assert not look(5.2), "that is proof enough"


async def test_a_renewal_that_is_due_ends_the_rest() -> None:
    forever = asyncio.Event()
    state: Any = SimpleNamespace(
        clock=SimpleNamespace(sleep=lambda _: forever.wait()), renewal_due=asyncio.Event()
    )
    rest = asyncio.create_task(SessionLoop(state, "1")._rest(1.0))
    await asyncio.sleep(0)
    assert not rest.done()
    state.renewal_due.set()
    async with asyncio.timeout(10):
        await rest
