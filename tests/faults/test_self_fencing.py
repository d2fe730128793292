"""What a server does to itself when nobody else can: the watchdog, final actions, limits."""

from collections.abc import Iterator

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long

WATCHDOG = "  watchdog: {device: /run/watchdog, timeout: 3s}\n  fencing:"
TIMING = "    deadMan: 3s\n"


@pytest.fixture
def guarded(cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Every server feeds a watchdog; they go on doing so until their next boot."""
    specs = cluster.lab.directory / "specs"
    began = now_wall()
    for name in cluster.servers:
        path = specs / f"{name}.yaml"
        if "watchdog" not in path.read_text():
            path.write_text(path.read_text().replace("  fencing:", WATCHDOG))
    timing = specs / "cluster.yaml"
    if TIMING not in timing.read_text():
        timing.write_text(timing.read_text() + TIMING)
        cluster.ctl("apply", str(specs))
        for name in cluster.servers:
            cluster.wait_event("watchdog_armed", began, by=name)
    yield cluster


def test_a_server_whose_pulse_and_agent_hang_is_reset_by_its_watchdog(
    guarded: ClusterUnderTest,
) -> None:
    owner = guarded.owner()
    guarded.break_("bmc", owner, "dead")  # nobody else can end it
    for program in ("agent", "pulse"):
        guarded.break_("pause", f"{owner}/{program}")
    guarded.eventually(lambda: guarded.lab_server(owner)["state"] == "off", "the watchdog bites")
    guarded.break_("bmc", owner, "ok")
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)


def test_a_killed_pulse_is_replaced_before_the_watchdog_bites(guarded: ClusterUnderTest) -> None:
    owner, began = guarded.owner(), now_wall()
    boot = guarded.status(f"server/{owner}")["bootId"]
    life = guarded.last_run()
    guarded.break_("kill", f"{owner}/pulse")
    guarded.wait_event("watchdog_armed", began, by=owner)
    guarded.beats_for(5.0)  # longer than its time-out
    assert guarded.lab_server(owner)["state"] == "running"
    assert guarded.status(f"server/{owner}")["bootId"] == boot
    assert guarded.last_run().pid == life.pid
