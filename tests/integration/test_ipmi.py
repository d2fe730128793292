"""The ipmi fence against a real `ipmi_sim` that controls a real process, which is the server."""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clusterctl.lab.bmc import BmcMode, BmcSimulator
from reconciler.adapters.clock import MonotonicClock
from reconciler.fences.ipmi import Ipmi, IpmiDevice
from reconciler.ports.power import FenceError, PowerState

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("ipmi_sim") is None, reason="ipmi_sim is not installed"),
]

GUID = "a123456789abcdefa123456789abcde1"
FAR = 1e12

# The server is one sleeping process; its pid file is the only thing that the program knows.
POWER_PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
file, operation, parameter, value = Path(sys.argv[1]), *(sys.argv[2:5] + [""])[:3]
def alive():
    try:
        pid = int(file.read_text())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, ValueError):
        return False
def off():
    if alive():
        os.kill(int(file.read_text()), signal.SIGKILL)
        while alive():
            time.sleep(0.001)
def on():
    if not alive():
        server = subprocess.Popen(["sleep", "1000"], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file.write_text(str(server.pid))
if operation == "get":
    print(f"power:{int(alive())}")
elif parameter == "identify":
    file.with_suffix(".led").write_text(value)
elif (parameter, value) == ("power", "1"):
    on()
else:
    off()
"""


class Machine:
    """A process that is the server, its BMC, and the fence device that another server would use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid_file = folder / "server.pid"
        self.password = secrets.token_hex(8)
        self.password_file = folder / "password"
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(self.password + "\n")
        self.address = f"127.77.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}"
        program = folder / "power.py"
        program.write_text(POWER_PROGRAM)
        self.program = (sys.executable, "-S", str(program), str(self.pid_file))
        self.bmc = BmcSimulator(
            folder / "bmc", "n1", self.address, 6230, "admin", self.password, GUID, self.program
        )

    def device(self, **settings: object) -> IpmiDevice:
        fields = {
            "type": "ipmi",
            "address": self.address,
            "port": 6230,
            "user": "admin",
            "passwordFrom": {"file": str(self.password_file)},
            "timeout": "5s",
            **settings,
        }
        return Ipmi.model_validate(fields).device(MonotonicClock())

    def power(self, *words: str) -> str:
        done = subprocess.run(
            [*self.program, *words], check=True, capture_output=True, text=True, timeout=10
        )
        return done.stdout.strip()

    def is_running(self) -> bool:
        """Asks the kernel, not the BMC."""
        return self.power("get", "power") == "power:1"

    def passwords_in_command_lines(self) -> list[bytes]:
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(process.read_bytes())
        return [command for command in found if self.password.encode() in command]


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    made.power("set", "power", "1")
    await made.bmc.start()
    yield made
    await made.bmc.stop()
    made.power("set", "power", "0")


async def test_off_is_confirmed_and_the_server_is_really_dead(machine: Machine) -> None:
    report = await machine.device(guid=GUID).power_off(FAR)
    assert not machine.is_running()
    assert (report.before, report.after, report.guid) == (PowerState.ON, PowerState.OFF, GUID)


async def test_a_session_opened_early_is_used_and_still_confirms(machine: Machine) -> None:
    device = machine.device()
    await device.prepare()
    await device.prepare()
    report = await device.power_off(FAR)
    assert report.after is PowerState.OFF
    assert not machine.is_running()


async def test_a_prepared_session_that_the_bmc_forgot_is_replaced(machine: Machine) -> None:
    device = machine.device()
    await device.prepare()
    await machine.bmc.stop()
    await machine.bmc.start()
    await device.power_off(FAR)
    assert not machine.is_running()


async def test_on_and_cycle_bring_it_up_again(machine: Machine) -> None:
    device = machine.device()
    first = machine.pid_file.read_text()
    await device.power_cycle()
    assert machine.is_running()
    assert machine.pid_file.read_text() != first
    await device.power_off(FAR)
    assert await device.status() is PowerState.OFF
    await device.power_on()
    assert machine.is_running()
    assert await device.status() is PowerState.ON


async def test_an_off_server_is_read_twice_and_reported_as_it_is(machine: Machine) -> None:
    machine.power("set", "power", "0")
    report = await machine.device().power_off(FAR)
    assert (report.before, report.after) == (PowerState.OFF, PowerState.OFF)


async def test_no_command_leaves_after_the_right_to_fence_ended(machine: Machine) -> None:
    with pytest.raises(FenceError, match="right to fence ended"):
        await machine.device().power_off(time.monotonic())
    assert machine.is_running()


async def test_a_dead_bmc_is_an_error_in_time_and_works_after_it_is_back(machine: Machine) -> None:
    await machine.bmc.set_mode(BmcMode.DEAD)
    started = time.monotonic()
    with pytest.raises(FenceError):
        await machine.device(timeout="1s").power_off(FAR)
    assert time.monotonic() - started < 30  # bounded by its own time-out, not by ours
    assert machine.is_running()
    await machine.bmc.set_mode(BmcMode.OK)
    await machine.device().power_off(FAR)
    assert not machine.is_running()


async def test_a_command_that_waited_at_a_dead_bmc_is_not_obeyed_later(machine: Machine) -> None:
    device = machine.device(timeout="1s")
    await device.prepare()
    await machine.bmc.set_mode(BmcMode.DEAD)
    with pytest.raises(FenceError):
        await device.power_off(FAR)
    await machine.bmc.set_mode(BmcMode.OK)
    assert await machine.device().status() is PowerState.ON
    assert machine.is_running()


async def test_a_closed_port_is_an_error(machine: Machine) -> None:
    await machine.bmc.stop()
    with pytest.raises(FenceError, match="did not answer"):
        await machine.device().status()


async def test_a_wrong_password_is_an_error_that_does_not_show_it(machine: Machine) -> None:
    await machine.bmc.set_mode(BmcMode.WRONG_PASSWORD)
    with pytest.raises(FenceError, match="wrong password") as raised:
        await machine.device().power_off(FAR)
    assert machine.password not in str(raised.value)
    assert machine.is_running()


async def test_a_bmc_that_never_confirms_proves_nothing(machine: Machine) -> None:
    await machine.bmc.set_mode(BmcMode.SAYS_ON)
    with pytest.raises(FenceError, match="still reads on"):
        await machine.device(timeout="2s").power_off(FAR)


async def test_a_bmc_that_lies_off_is_reported_as_off_before_the_command(machine: Machine) -> None:
    """What it says is all a device can tell: `before=off` lets the decision cross-check it."""
    await machine.bmc.set_mode(BmcMode.SAYS_OFF)
    report = await machine.device().power_off(FAR)
    assert (report.before, report.after) == (PowerState.OFF, PowerState.OFF)
    assert machine.is_running()


async def test_a_slow_bmc_is_an_error_within_a_short_timeout(machine: Machine) -> None:
    await machine.bmc.set_mode(BmcMode.SLOW)
    with pytest.raises(FenceError):
        await machine.device(timeout="1s").status()
    await machine.bmc.set_mode(BmcMode.OK)


async def test_another_servers_bmc_is_never_told_to_switch_off(machine: Machine) -> None:
    other = "00000000-0000-0000-0000-00000000beef"
    with pytest.raises(FenceError, match="belongs to another server"):
        await machine.device(guid=other).power_off(FAR)
    assert machine.is_running()
    test = await machine.device(guid=other).self_test()
    assert not test.ok
    assert "belongs to another server" in test.detail


async def test_the_self_test_tells_power_and_guid_and_changes_nothing(machine: Machine) -> None:
    test = await machine.device().self_test()
    assert test.ok, test.detail
    assert (test.power, test.guid) == (PowerState.ON, GUID)
    assert machine.is_running()


async def test_a_missing_password_file_fails_the_self_test_with_its_path(machine: Machine) -> None:
    machine.password_file.unlink()
    test = await machine.device().self_test()
    assert not test.ok
    assert str(machine.password_file) in test.detail
    with pytest.raises(FenceError, match="cannot read"):
        await machine.device().power_off(FAR)


async def test_a_password_file_for_everybody_is_warned_about(machine: Machine) -> None:
    machine.password_file.chmod(0o644)
    test = await machine.device().self_test()
    assert test.ok
    assert "0600" in test.detail


async def test_cipher_suites_fall_back_or_are_pinned(machine: Machine) -> None:
    assert await machine.device().status() is PowerState.ON  # refuses 17, takes 3
    assert await machine.device(cipherSuite=3).status() is PowerState.ON
    with pytest.raises(FenceError, match="refused the session"):
        await machine.device(cipherSuite=17).status()


async def test_the_locator_led_is_lit(machine: Machine) -> None:
    await machine.device().identify(15)
    assert machine.pid_file.with_suffix(".led").read_text().split()[0] == "15"


async def test_the_password_is_in_no_log_and_no_command_line(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await machine.device().power_off(FAR)
    assert machine.password not in caplog.text
    assert not machine.passwords_in_command_lines()
    assert (machine.folder / "bmc" / "lan.conf").stat().st_mode & 0o077 == 0


async def test_two_bmcs_are_fenced_side_by_side_without_holding_up_the_loop(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = Machine(tmp_path / "second")
    second.power("set", "power", "1")
    await second.bmc.start()
    try:
        reports = await asyncio.gather(
            machine.device().power_off(FAR), second.device().power_off(FAR)
        )
        assert {report.after for report in reports} == {PowerState.OFF}
        assert not machine.is_running()
        assert not second.is_running()
    finally:
        await second.bmc.stop()
        second.power("set", "power", "0")


async def test_a_bmc_started_by_another_command_is_found_and_stopped(machine: Machine) -> None:
    same = BmcSimulator(
        machine.folder / "bmc",
        "n1",
        machine.address,
        6230,
        "admin",
        machine.password,
        GUID,
        machine.program,
    )
    assert same.is_running()
    await same.stop()
    assert not machine.bmc.is_running()


@pytest.mark.skipif(shutil.which("ipmitool") is None, reason="ipmitool is not installed")
async def test_plain_ipmitool_is_answered(machine: Machine) -> None:
    argv = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", machine.address, "-p", "6230"]
    argv += ["-U", "admin", "-E", "chassis", "power"]
    environment = {**os.environ, "IPMITOOL_PASSWORD": machine.password}
    for operation, expected in (("status", "on"), ("off", "Down"), ("status", "off")):
        process = await asyncio.create_subprocess_exec(
            *argv, operation, env=environment, stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        assert expected in out.decode()
    assert not machine.is_running()
