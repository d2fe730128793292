"""Redfish against a simulated BMC: what it proves, what it refuses, what it never says."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from reconciler.adapters.clock import MonotonicClock
from reconciler.fences.redfish import Redfish, RedfishDevice
from reconciler.ports.power import FenceError, PowerState
from tests.fences.redfish_bmc import PASSWORD, UUID, Bmc, running

CLOCK = MonotonicClock()


@pytest.fixture
def bmc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bmc]:
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    with running(tmp_path) as made:
        yield made


def device(bmc: Bmc, **changes: object) -> RedfishDevice:
    return Redfish.model_validate(bmc.level(**changes)).device(CLOCK)


def later() -> float:
    return CLOCK.now() + 30.0


async def test_off_is_read_commanded_and_read_again(bmc: Bmc) -> None:
    report = await device(bmc).power_off(later())
    assert (report.before, report.after) == (PowerState.ON, PowerState.OFF)
    assert report.guid == UUID.replace("-", "")
    assert bmc.commands == ["ForceOff"]


async def test_the_session_is_ended_at_the_bmc(bmc: Bmc) -> None:
    await device(bmc).status()
    deadline = CLOCK.now() + 10
    while bmc.sessions:  # it ends after the answer was given
        assert CLOCK.now() < deadline
        await asyncio.sleep(0.01)


async def test_a_server_that_is_off_already_gets_no_command(bmc: Bmc) -> None:
    bmc.power = "Off"
    report = await device(bmc).power_off(later())
    assert (report.before, report.after, bmc.commands) == (PowerState.OFF, PowerState.OFF, [])


async def test_on_cycle_status_and_identify(bmc: Bmc) -> None:
    used = device(bmc)
    bmc.power = "Off"
    await used.power_on()
    assert await used.status() is PowerState.ON
    await used.power_cycle()
    assert bmc.commands == ["On", "ForceOff", "On"]
    await used.identify(15)
    assert "True" in bmc.commands[-1]


async def test_another_servers_bmc_gets_no_command(bmc: Bmc) -> None:
    bmc.uuid = "00000000-89ab-cdef-a123-456789abcde1"
    with pytest.raises(FenceError, match="belongs to another server"):
        await device(bmc).power_off(later())
    assert bmc.commands == []
    assert not (await device(bmc).self_test()).ok


@pytest.mark.parametrize("trust", [{"fingerprint": "00" * 32}, {"fingerprint": None}])
async def test_a_strange_certificate_never_sees_the_password(
    bmc: Bmc, trust: dict[str, object]
) -> None:
    with pytest.raises(FenceError, match="certificate"):
        await device(bmc, **trust).power_off(later())
    assert bmc.passwords_seen == []


async def test_a_certificate_of_the_given_authority_is_trusted(bmc: Bmc) -> None:
    trusted = device(bmc, fingerprint=None, caFile=str(bmc.certificate))
    assert await trusted.status() is PowerState.ON


async def test_nothing_leaves_when_the_right_to_fence_is_over(bmc: Bmc) -> None:
    with pytest.raises(FenceError, match="right to fence"):
        await device(bmc).power_off(CLOCK.now() - 0.001)
    assert bmc.commands == []


async def test_a_bmc_that_ignores_the_command_proves_nothing(bmc: Bmc) -> None:
    bmc.mode = "ignores"
    with pytest.raises(FenceError, match="still reads on"):
        await device(bmc, timeout="1s").power_off(later())


async def test_a_lost_answer_is_settled_by_reading(bmc: Bmc) -> None:
    bmc.mode = "deaf"
    report = await device(bmc).power_off(later())
    assert report.after is PowerState.OFF
    assert bmc.commands == ["ForceOff"], "sent once"


@pytest.mark.parametrize(
    ("mode", "words"),
    [("hangs", "did not"), ("redirects", "307"), ("nonsense", "not JSON")],
)
async def test_what_it_cannot_understand_is_an_error(bmc: Bmc, mode: str, words: str) -> None:
    bmc.mode = mode
    with pytest.raises(FenceError, match=words):
        await device(bmc, timeout="1s").power_off(later())
    assert bmc.commands == []


async def test_an_unknown_power_state_is_neither(bmc: Bmc) -> None:
    bmc.power = "Perhaps"
    with pytest.raises(FenceError, match="unknown power state"):
        await device(bmc).status()


async def test_a_state_in_between_is_not_off(bmc: Bmc) -> None:
    bmc.power = "PoweringOff"
    assert await device(bmc).status() is PowerState.ON


async def test_a_wrong_password_is_named_and_not_shown(
    bmc: Bmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "hunter2")
    test = await device(bmc).self_test()
    assert not test.ok
    assert "wrong password" in test.detail
    assert "hunter2" not in test.detail


async def test_a_prepared_session_saves_the_login(bmc: Bmc) -> None:
    used = device(bmc)
    await used.prepare()
    await used.power_off(later())
    assert bmc.logins == 1


async def test_a_prepared_session_that_the_bmc_forgot_is_opened_anew(bmc: Bmc) -> None:
    used = device(bmc)
    await used.prepare()
    bmc.sessions.clear()
    assert (await used.power_off(later())).after is PowerState.OFF
    assert bmc.logins == 2


async def test_nobody_there() -> None:
    level = {"address": "127.0.0.1", "port": 1, "user": "a", "passwordFrom": {"env": "PATH"}}
    with pytest.raises(FenceError, match="cannot be reached"):
        await Redfish.model_validate(level).device(CLOCK).status()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "hunter2"}, "passwordFrom"),
        ({"fingerprint": "12"}, "64 hexadecimal"),
        ({"caFile": "/ca"}, "either fingerprint or caFile"),
        ({"system": "/elsewhere"}, "/redfish/"),
        ({"guid": "1"}, "not a GUID"),
    ],
)
def test_malformed_settings_are_refused(bmc: Bmc, changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Redfish.model_validate(bmc.level(**changes))
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)
