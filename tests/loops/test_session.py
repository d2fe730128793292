"""When an agent makes its session, and what that tells the others."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.loops.session import WATCHDOG_WAIT_S, SessionLoop
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
