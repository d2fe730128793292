"""Labs come side by side and go without a trace, also after their command was killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from clusterctl.lab import plan
from tests.integration.lab_under_test import (
    SOURCE,
    LabUnderTest,
    clusterctl,
    eventually,
    needs_lab,
)

pytestmark = needs_lab


def _traces(directory: Path) -> list[str]:
    """Everything of a lab that is still on this machine."""
    found = [
        entry.name
        for entry in Path("/sys/class/net").iterdir()
        if plan.lab_id(directory) in entry.name
    ]
    cgroup = plan.find_cgroup_root() / plan.cgroup_name(directory)
    found += [str(cgroup)] if cgroup.exists() else []
    found += [
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if str(directory) in line
    ]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
            mounts = (process / "mounts").read_text()
        except OSError:
            continue
        if str(directory) in mounts or ("clusterctl.lab" in command and str(directory) in command):
            found.append(f"{process.name} {command}")
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        found += [line for line in backing.read_text().splitlines() if str(directory) in line]
    return found


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def _attached(device: str) -> Path:
    """There as long as a file is attached to it."""
    return Path("/sys/block") / Path(device).name / "loop"


def _loop_device(lab: LabUnderTest, file: str) -> Path:
    """A server makes one and leaves it."""
    script = f"truncate -s 1M {file} && losetup --find --show {file}"
    status, device, errors = lab.run("n1", "sh", "-c", script)
    assert status == 0, errors
    return _attached(device.strip())


def test_two_labs_side_by_side_and_down_leaves_nothing(tmp_path: Path) -> None:
    first = LabUnderTest.start(tmp_path / "a", "--servers", "1", "--bare")
    try:
        second = LabUnderTest.start(tmp_path / "b", "--servers", "1", "--bare")
        try:
            assert first.plan.cidr("private") != second.plan.cidr("private")
            assert "no route" not in second.bmc("n1", "status")
            assert first.bmc("n1", "status") == second.bmc("n1", "status") == "Chassis Power is on"
            left = [_loop_device(first, path) for path in ("/srv/d", "/var/d", "/run/d")]
            kept = _loop_device(second, "/srv/d")
            first.down()
            assert _traces(first.directory) == []
            assert [path for path in left if path.exists()] == []
            assert kept.exists()
            assert second.server("n1")["state"] == "running"
        finally:
            second.down()
    finally:
        first.down()
    assert _traces(second.directory) == []
    assert not kept.exists()
    assert not (tmp_path / "a").exists()


def test_power_off_detaches_what_the_server_left_and_nothing_else(tmp_path: Path) -> None:
    lab = LabUnderTest.start(tmp_path / "a", "--servers", "1", "--bare")
    strangers = tmp_path / "d"
    strangers.write_bytes(bytes(1 << 20))
    device = _run("losetup", "--find", "--show", str(strangers))
    try:
        strangers.unlink()
        own = [_loop_device(lab, path) for path in ("/var/d", "/run/d")]
        lab.lab("power", "n1", "off")
        assert [path for path in own if path.exists()] == []
        assert _attached(device).exists()
    finally:
        _run("losetup", "--detach", device)
        lab.down()


def test_down_cleans_up_after_a_killed_up(tmp_path: Path) -> None:
    directory = tmp_path / "k"
    process = subprocess.Popen(
        [sys.executable, "-m", "clusterctl.app", "lab", "up", "--dir", str(directory)],
        cwd=SOURCE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        power = directory / "servers" / "n1" / "power.json"
        eventually(lambda: power.exists() and json.loads(power.read_text())["on"], "n1 is on", 60)
    finally:
        process.kill()
        process.wait(10)
    assert _traces(directory)
    clusterctl("lab", "down", "--dir", str(directory))
    assert _traces(directory) == []
    clusterctl("lab", "down", "--dir", str(directory), check=False)


def test_an_interrupted_up_takes_itself_down(tmp_path: Path) -> None:
    directory = tmp_path / "i"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "clusterctl.app", "lab", "up", "--bare", "--servers", "1"),
            *("--dir", str(directory)),
        ],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert "run" in lines.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 130
    assert _traces(directory) == []
    assert not (directory / "lab.json").exists()


def test_up_refuses_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    done = clusterctl("lab", "up", "--dir", str(tmp_path), "--detach", check=False)
    assert done.returncode == 6
    assert "choose another --dir" in done.stderr
    assert (tmp_path / "servers").is_dir()


def test_up_twice_in_one_directory_is_refused(tmp_path: Path) -> None:
    lab = LabUnderTest.start(tmp_path / "a", "--servers", "1", "--bare")
    try:
        done = clusterctl("lab", "up", "--dir", str(lab.directory), "--detach", check=False)
        assert done.returncode == 6
        assert "lab down" in done.stderr
        assert lab.server("n1")["state"] == "running"
    finally:
        lab.down()
