"""Fence agents: options on standard input, three-valued answers, nothing left after the time."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from reconciler.adapters.clock import MonotonicClock
from reconciler.fences import agent
from reconciler.fences.agent import Agent, AgentDevice
from reconciler.ports.power import FenceError, PowerState

CLOCK = MonotonicClock()


class Fake:
    """The fake agent, installed in a folder of its own, with its power in a file."""

    def __init__(self, directory: Path) -> None:
        self.programs, self.state = directory / "sbin", directory / "power"
        self.programs.mkdir()
        shutil.copy(Path(__file__).parent / "fence_fake", self.programs)
        self.state.write_text("on")

    def device(self, **changes: object) -> AgentDevice:
        level = {
            "program": "fence_fake",
            "options": {"state": str(self.state)},
            "secrets": {"passwd": {"env": "PDU_PASSWORD"}},
            "timeout": "10s",
        }
        return Agent.model_validate({**level, **changes}).device(CLOCK)

    def fault(self, word: str) -> None:
        Path(f"{self.state}.fault").write_text(word)

    def child(self) -> int:
        return int(Path(f"{self.state}.child").read_text())

    def calls(self) -> list[str]:
        return Path(f"{self.state}.calls").read_text().splitlines()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    if os.geteuid() != 0:
        pytest.skip("an agent must belong to root")
    made = Fake(tmp_path)
    monkeypatch.setattr(agent, "DIRECTORIES", (made.programs,))
    monkeypatch.setenv("PDU_PASSWORD", "correct-horse")
    return made


def later() -> float:
    return CLOCK.now() + 30.0


async def test_off_is_read_commanded_and_read_again(fake: Fake) -> None:
    report = await fake.device().power_off(later())
    assert (report.before, report.after) == (PowerState.ON, PowerState.OFF)
    assert report.guid is None, "it cannot tell whose power it is"
    assert fake.calls() == ["status []", "off []", "status []"], "nothing on the command line"


async def test_a_server_that_is_off_already_gets_no_command(fake: Fake) -> None:
    fake.state.write_text("off")
    report = await fake.device().power_off(later())
    assert report.before is PowerState.OFF
    assert fake.calls() == ["status []", "status []"]


async def test_on_cycle_and_status(fake: Fake) -> None:
    used = fake.device()
    fake.state.write_text("off")
    await used.power_on()
    await used.power_cycle()
    assert await used.status() is PowerState.ON
    assert [call.split()[0] for call in fake.calls() if "status" not in call] == ["on", "off", "on"]


async def test_any_other_exit_status_says_nothing(fake: Fake) -> None:
    fake.fault("unknown")
    with pytest.raises(FenceError, match="status ended with 1"):
        await fake.device().power_off(later())
    assert not (await fake.device().self_test()).ok


async def test_one_that_obeys_nothing_proves_nothing(fake: Fake) -> None:
    fake.fault("ignores")
    with pytest.raises(FenceError, match="still reads on"):
        await fake.device(timeout="2s").power_off(later())


@pytest.mark.parametrize("limit", ["timeout", "right to fence"])
async def test_nothing_of_a_hanging_program_is_left(fake: Fake, limit: str) -> None:
    """Also what it started in a session of its own: a late command would be one too many."""
    fake.fault("hangs")
    device = fake.device(timeout="3s" if limit == "timeout" else "60s")
    until = later() if limit == "timeout" else CLOCK.now() + 3.0
    with pytest.raises(FenceError, match="was killed"):
        await device.power_off(until)
    child = fake.child()
    deadline = CLOCK.now() + 10
    while _lives(child):
        assert CLOCK.now() < deadline
        await asyncio.sleep(0.01)


async def test_nothing_starts_when_the_right_to_fence_is_over(fake: Fake) -> None:
    with pytest.raises(FenceError, match="right to fence"):
        await fake.device().power_off(CLOCK.now() - 0.001)
    assert fake.calls() == ["status []"]


async def test_a_secret_is_in_no_message(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDU_PASSWORD", "hunter2")
    test = await fake.device().self_test()
    assert "login to fencing device with ***" in test.detail
    assert "hunter2" not in test.detail


async def test_a_program_that_others_may_write_is_not_started(fake: Fake) -> None:
    (fake.programs / "fence_fake").chmod(0o777)
    with pytest.raises(FenceError, match="only root may write"):
        await fake.device().status()


async def test_a_program_that_is_not_there_is_named(fake: Fake) -> None:
    with pytest.raises(FenceError, match="there is no fence_other"):
        await fake.device(program="fence_other").status()


@pytest.mark.parametrize(
    "changes",
    [
        {"program": "/bin/sh"},
        {"program": "fence_../sh"},
        {"options": {"passwd": "hunter2"}},
        {"options": {"action": "off"}},
        {"options": {"ip": "1\naction=off"}},
        {"options": {"IP": "1"}},
        {"options": {"x": "1"}, "secrets": {"x": {"env": "A"}}},
    ],
)
def test_malformed_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as raised:
        Agent.model_validate({"program": "fence_x", **changes})
    assert "hunter2" not in str(raised.value)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
