"""The machine's identity and its reset, which must never reach the machine that runs tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.adapters.linux.machine import LinuxMachine
from reconciler.ports.machine import ResetRefused


def test_the_boot_id_is_made_once_and_then_read(tmp_path: Path) -> None:
    file = tmp_path / "run" / "boot-id"
    first = LinuxMachine(file).boot_id()
    assert LinuxMachine(file).boot_id() == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    file.unlink()  # lost with the power, as everything in /run
    assert LinuxMachine(file).boot_id() != first


def test_an_empty_boot_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boot-id").touch()
    with pytest.raises(ValueError, match="is empty"):
        LinuxMachine(tmp_path / "boot-id")


async def test_a_reset_is_refused_to_whom_it_was_not_given(tmp_path: Path) -> None:
    with pytest.raises(ResetRefused, match="cannot stop web"):
        await LinuxMachine(tmp_path / "boot-id").reset("cannot stop web")


RESET = """
import asyncio, os, sys
from pathlib import Path
from reconciler.adapters.linux.machine import LinuxMachine
if os.getpid() != 1 or os.readlink("/proc/self/ns/pid") == sys.argv[1]:
    sys.exit("not in a PID namespace of its own: nothing was tried")
asyncio.run(LinuxMachine(Path(sys.argv[2]), allow_reset=True).reset("test"))
"""


@pytest.mark.integration
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a PID namespace")
def test_a_reset_ends_exactly_its_own_pid_namespace(tmp_path: Path) -> None:
    own = str(Path("/proc/self/ns/pid").readlink())
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", RESET, own, str(tmp_path / "boot-id")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "nothing was tried" not in done.stderr
    assert "ResetRefused" not in done.stderr
    assert done.returncode in (-signal.SIGHUP, 128 + signal.SIGHUP), done
