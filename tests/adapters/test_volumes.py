"""What is done to disks by programs: what is looked at once more, and what ends with the agent."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.linux import command, loop_device, mirrors, volumes
from reconciler.adapters.linux.volumes import LinuxVolumes
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError
from reconciler.ports.volumes import FileSystem

VALID = Permit(1, lambda: True)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    found: list[list[str]] = []

    async def run(words: list[str], *_: Any) -> tuple[int, str]:
        found.append(words)
        return 0, ""

    monkeypatch.setattr(volumes, "run", run)
    return found


async def test_what_is_written_right_before_it_is_formatted_is_seen(
    tmp_path: Path, ran: list[list[str]]
) -> None:
    """Between the look of the driver and the program a consent is used up in the store."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(2 << 20))
    await LinuxVolumes().make_file_system(str(disk), "ext4", VALID)
    assert len(ran) == 1
    disk.write_bytes(bytes(4096) + b"x")
    with pytest.raises(HostError, match="is not blank"):
        await LinuxVolumes().make_file_system(str(disk), "ext4", VALID)
    assert len(ran) == 1


async def test_nothing_is_mounted_through_a_symbolic_link(
    tmp_path: Path, ran: list[list[str]]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    system = FileSystem("ext4", check="never")
    with pytest.raises(HostError, match=f"symbolic link: write {tmp_path}/real/data"):
        await LinuxVolumes().mount("/dev/x", str(tmp_path / "link/data"), system, VALID)
    assert ran == []
    await LinuxVolumes().mount("/dev/x", str(tmp_path / "real/data"), system, VALID)
    assert ran == [["mount", "-t", "ext4", "/dev/x", str(tmp_path / "real/data")]]


async def test_a_start_that_is_ended_leaves_no_loop_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock would keep the file from every later start."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    go, closed, held, close = asyncio.Event(), asyncio.Event(), 12345678, os.close
    monkeypatch.setattr(os, "close", lambda fd: closed.set() if fd == held else close(fd))

    def attach(*_: Any, **__: Any) -> tuple[str, int]:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        return "/dev/loop9", held

    monkeypatch.setattr(loop_device, "attach", attach)
    starting = asyncio.ensure_future(LinuxVolumes().attach(str(tmp_path / "disk"), alone=True))
    await begun.wait()
    starting.cancel()
    await asyncio.wait({starting})
    go.set()
    await asyncio.wait_for(closed.wait(), 20)


def test_what_works_on_a_disk_ends_with_a_killed_agent(tmp_path: Path) -> None:
    if not command._leash():
        pytest.skip("needs setpriv")
    text = (
        "import asyncio, sys\n"
        "from reconciler.adapters.linux.command import run\n"
        "asyncio.run(run(['sh', '-c', f'echo $$ > {sys.argv[1]}; exec sleep 600'], 600))\n"
    )
    noted = tmp_path / "pid"
    agent = subprocess.Popen([sys.executable, "-c", text, str(noted)])
    try:
        while not (noted.exists() and noted.read_text().strip()):
            assert agent.poll() is None
        child = int(noted.read_text())
        agent.kill()
        agent.wait(20)
        while _runs(child):
            pass
    finally:
        agent.kill()
        agent.wait(20)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except OSError:
        return False
    return not state.startswith(("Z", "X"))


def test_a_disk_that_cannot_be_looked_at_is_not_called_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine may hang in it, and write."""
    assert not mirrors._is_locked(str(tmp_path / "gone"))

    def fail(*_: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(HostError, match="Too many open files"):
        mirrors._is_locked(str(tmp_path))
