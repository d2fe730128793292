"""What init and join ask systemd, with a `systemctl` that writes down its arguments; and what the
agent tells systemd."""

import os
import re
import socket
from pathlib import Path

import pytest

from clusterctl.bootstrap import units
from clusterctl.bootstrap.layout import BootstrapError
from reconciler.adapters.linux.notify import READY, notify

UNITS = Path(__file__).parents[2] / "packaging/systemd"
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"{log}"
[ "$1" = is-active ] && exit {active}
[ "$1" = "{refused}" ] && {{ echo "Unit is masked." >&2; exit 1; }}
exit 0
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH; `write` puts a systemctl there."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def write(folder: Path, *, active: int = 3, refused: str = "nothing") -> Path:
    log = folder / "log"
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(log=log, active=active, refused=refused))
    program.chmod(0o700)
    return log


def test_units_are_enabled_and_started_without_waiting_for_a_quorum(systemctl: Path) -> None:
    log = write(systemctl)
    units.start([units.ETCD, units.AGENT])
    assert log.read_text().splitlines() == [
        "enable --quiet clusterctl-etcd.service clusterctl-agent.service",
        "start --no-block clusterctl-etcd.service clusterctl-agent.service",
    ]


@pytest.mark.parametrize("refused", ["enable", "start"])
def test_what_systemd_refuses_is_told(systemctl: Path, refused: str) -> None:
    write(systemctl, refused=refused)
    with pytest.raises(BootstrapError, match=r"clusterctl-etcd\.service can not .* is masked"):
        units.start([units.ETCD])


def test_a_foreign_etcd_is_not_touched(systemctl: Path) -> None:
    log = write(systemctl, active=0)
    with pytest.raises(BootstrapError, match=r"systemctl disable --now etcd\.service"):
        units.refuse_foreign_etcd()
    assert log.read_text().splitlines() == ["is-active --quiet etcd.service"]
    write(systemctl, active=3)
    units.refuse_foreign_etcd()


def test_a_systemctl_that_hangs_ends_in_a_sentence(
    systemctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = systemctl / "systemctl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(units, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(BootstrapError, match="repeat this command"):
        units.start([units.ETCD])


def test_without_systemd_or_units_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(units, "UNIT_DIRECTORIES", (tmp_path / "units",))
    assert not units.are_installed()
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / units.AGENT).touch()
    assert units.are_installed()
    monkeypatch.setattr(units, "SYSTEMD_RUNS", tmp_path / "none")
    assert not units.are_installed()


def test_units_that_are_started_are_packaged() -> None:
    packaged = {path.name for path in UNITS.glob("*.service")}
    assert {units.ETCD, units.AGENT, units.ENROLMENT, units.DRAIN} == packaged
    for path in UNITS.glob("*.service"):
        assert re.search(r"^ConditionPathExists=/etc/clusterctl/", path.read_text(), re.MULTILINE)


def test_services_outlive_the_agents_unit() -> None:
    text = (UNITS / units.AGENT).read_text()
    for line in ("KillMode=process", "OOMPolicy=continue", "TasksMax=infinity", "Restart=always"):
        assert f"\n{line}\n" in text


def test_a_shutdown_drains_before_anything_that_it_needs_is_stopped() -> None:
    text = (UNITS / units.DRAIN).read_text()
    (after,) = re.findall(r"^After=(.*)$", text, re.MULTILINE)
    assert {units.AGENT, units.ETCD, "network-online.target"} <= set(after.split())
    assert "RemainAfterExit=yes" in text
    assert "PartOf=" not in text  # a restart of the agent is no shutdown
    assert "is-system-running" in text
    # systemd waits longer than the command does
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    (patience,) = re.findall(r"--timeout (\d+)s\'$", text, re.MULTILINE)
    assert int(limit) > int(patience)


@pytest.mark.parametrize("abstract", [False, True])
def test_the_agent_tells_systemd_that_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify(READY, "STATUS=well") is None
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


def test_an_agent_without_an_ear_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    assert notify(READY)
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert notify(READY) is None
