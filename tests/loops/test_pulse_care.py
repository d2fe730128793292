"""Whoever opened the watchdog has it fed for the rest of the boot, by each pulse that comes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.decide.hearing import PeersView
from reconciler.loops import pulse_care
from reconciler.loops.pulse_care import PulseCare
from specs.server import WatchdogSpec

SPEC = WatchdogSpec(device="/dev/watchdog", timeout=5, stall=7)


class Agent:
    """One that was started anew: its supervisor kept the open device."""

    def __init__(
        self, told_s: float, *, fed_s: float = 0.0, granted_s: float | None = None
    ) -> None:
        self.armed: list[tuple[int, float, float]] = []
        self.lent: int | None = None
        record = SimpleNamespace(boot_id="b1", watchdog_s=told_s, dead_man_s=6.0)
        sessions = {"n1": SimpleNamespace(record=record)}
        state: Any = SimpleNamespace(
            me="n1",
            boot_id="b1",
            mirror=SimpleNamespace(maps={"sessions": sessions}),
            snapshot=lambda: None,
            events=SimpleNamespace(emit=lambda *_, **__: None),
        )
        holds = granted_s is not None
        view = PeersView(0.0, dead_man_s=6.0, watchdog_s=granted_s or 0.0, holds=holds)
        peers: Any = SimpleNamespace(
            status=lambda: SimpleNamespace(watchdog_s=fed_s, watchdog_error=""),
            view=lambda: view,
            arm=lambda *told: self.armed.append(told),
            borrow_watchdog=lambda: self.lent,
        )
        nothing: Any = None
        self.care = PulseCare(nothing, state, peers, nothing, str, nothing)
        self.care._watchdog._descriptor = 3

    def look(self, wanted: WatchdogSpec | None) -> list[tuple[int, float, float]]:
        specs: Any = SimpleNamespace(
            servers={"n1": SimpleNamespace(spec=SimpleNamespace(watchdog=wanted))}
        )
        self.care._arm_watchdog(specs)
        told, self.armed[:] = list(self.armed), []
        return told


def test_what_the_spec_does_not_want_any_more_is_fed_until_the_boot_is_over() -> None:
    agent = Agent(told_s=5.0)
    assert agent.look(None) == [(3, 5.0, 0.0)]
    assert agent.look(None) == []


@pytest.mark.parametrize("told", [{"told_s": 2.0}, {"told_s": 5.0, "granted_s": 2.0}])
def test_a_longer_time_out_that_the_others_do_not_know_is_armed_as_it_was(told: Any) -> None:
    assert Agent(**told).look(SPEC) == [(3, 2.0, 7.0)]


def test_a_shorter_one_is_taken_at_once() -> None:
    assert Agent(told_s=9.0, fed_s=9.0).look(SPEC) == [(3, 5.0, 7.0)]


def test_a_watchdog_that_was_never_opened_is_not_opened_for_nothing() -> None:
    agent = Agent(told_s=0.0)
    agent.care._watchdog._descriptor = None
    assert agent.look(None) == []


@pytest.mark.parametrize(("spec", "stall_s"), [(SPEC, 7.0), (None, 0.0)])
def test_what_the_pulse_of_the_agent_before_feeds_is_borrowed_and_never_opened_again(
    spec: WatchdogSpec | None, stall_s: float
) -> None:
    """`systemctl stop` and `start`: systemd has closed its copy."""
    agent = Agent(told_s=5.0, fed_s=5.0)
    agent.care._watchdog._descriptor = None
    assert agent.look(spec) == []  # not before the pulse has answered
    agent.lent = 17
    assert agent.look(spec) == [(17, 5.0, stall_s)]


async def test_an_empty_kill_list_replaces_that_of_the_agent_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the pulse never ends in order, and the armed watchdog resets a server that is being
    switched off."""

    async def nothing_runs(*_: object) -> list[Any]:
        return []

    monkeypatch.setattr(pulse_care, "kill_list", nothing_runs)
    care = Agent(told_s=0.0).care
    care._adopted = asyncio.Event()
    care._adopted.set()
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    peers: Any = care._peers
    peers.register = told.set_result
    state: Any = care._state
    state.new_wake = asyncio.Event
    state.clock = SimpleNamespace(sleep=asyncio.sleep)
    loop = asyncio.create_task(care.keep_kill_list())
    async with asyncio.timeout(10):
        assert await told == []
    loop.cancel()
