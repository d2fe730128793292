"""`lab up` killed at any moment: `lab down` removes what there is of it, whatever that is."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterctl.lab import plan
from tests.faults import marks
from tests.integration.lab_under_test import SOURCE, clusterctl, eventually

pytestmark = marks.long

MOMENTS: dict[str, Callable[[Path], bool]] = {
    "it is planned": lambda lab: (lab / "lab.json").exists(),
    "its outermost process runs": lambda lab: (lab / "root.json").exists(),
    "the first server boots": lambda lab: (lab / "servers/n1/log/board.log").exists(),
    "the first server is installed": lambda lab: (
        lab / "servers/n1/clusterctl/cluster.json"
    ).exists(),
    "the last server joins": lambda lab: (lab / "servers/n3/clusterctl/pki/server.key").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_after_a_kill_leaves_nothing(moment: str, tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    up = subprocess.Popen(
        [sys.executable, "-m", "clusterctl.app", "lab", "up", "--dir", str(directory)],
        cwd=SOURCE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: MOMENTS[moment](directory), moment, 60)
    finally:
        up.kill()
        up.wait(10)
    lab = plan.load(directory)
    clusterctl("lab", "down", "--dir", str(directory))
    assert _left(lab) == []


def _left(lab: plan.Plan) -> list[str]:
    """Processes (and so namespaces and mounts), cgroups, interfaces and loop devices of a lab."""
    text = str(lab.directory)
    found = [str(lab.cgroup)] if lab.cgroup.exists() else []
    interfaces = {plan.host_interface(lab.lab_id, network) for network in plan.NETWORKS}
    found += [link.name for link in Path("/sys/class/net").iterdir() if link.name in interfaces]
    for process in Path("/proc").iterdir():
        try:
            seen = (process / "cmdline").read_bytes().decode(errors="replace")
            seen += (process / "mounts").read_text()
        except (OSError, ValueError):
            continue
        if process.name.isdigit() and text in seen:
            found.append(f"{process.name} {seen[:100]}")
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        found += [line for line in backing.read_text().splitlines() if text in line]
    if lab.directory.exists():
        found.append(text)
    return found
