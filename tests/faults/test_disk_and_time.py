"""A shared disk as a heartbeat path, and as a way to end a server whose BMC is dead."""

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long

DISK = "/srv/heartbeat-disk"
PATHS = """\
  heartbeatPaths:
    - name: quorum-disk
      type: disk
      mailbox: 1s
      devices: {{{devices}}}
"""
PILL = "      - {{type: poison-pill, disk: {disk}, server: {server}}}\n    afterFence:"
WATCHDOG = "  watchdog: {device: /run/watchdog, timeout: 1s}\n  fencing:"


@pytest.fixture
def guarded(cluster: ClusterUnderTest) -> ClusterUnderTest:
    """A heartbeat disk with mailboxes, a watchdog everywhere, a pill as second fencing level."""
    specs, began = cluster.lab.directory / "specs", now_wall()
    if DISK not in (specs / "cluster.yaml").read_text():
        cluster.on("n1", "truncate", "--size=1M", DISK)
        said = cluster.on("n1", "clusterctl", "disk", "prepare", DISK)
        assert "is now a heartbeat disk" in said, said
        for name in SERVERS:
            path = specs / f"{name}.yaml"
            text = path.read_text().replace("  fencing:", WATCHDOG)
            pill = PILL.format(disk=DISK, server=name)
            path.write_text(text.replace("    afterFence:", pill))
        devices = ", ".join(f"{name}: {DISK}" for name in SERVERS)
        path = specs / "cluster.yaml"
        path.write_text(path.read_text() + PATHS.format(devices=devices))
        cluster.ctl("apply", str(specs))
        for name in SERVERS:
            cluster.wait_event("watchdog_armed", began, by=name)
    cluster.eventually(lambda: disk_is_heard(cluster), "everybody is heard on the disk")
    return cluster


def disk_is_heard(cluster: ClusterUnderTest) -> bool:
    return all(
        cluster.paths(one, two).get("quorum-disk") == "heard"
        for one in SERVERS
        for two in SERVERS
        if one != two
    )


def test_a_server_without_networks_is_heard_on_the_disk_and_left_alone(
    guarded: ClusterUnderTest,
) -> None:
    owner, life, began = guarded.owner(), guarded.last_run(), now_wall()
    other = next(name for name in SERVERS if name != owner)
    guarded.break_("cut", owner, "--network", "all")
    guarded.eventually(
        lambda: guarded.paths(other, owner).get("private") == "silent", "the networks are silent"
    )
    assert guarded.paths(other, owner)["quorum-disk"] == "heard"
    guarded.wait_session_end(owner)
    guarded.beats_for(3.0)
    assert guarded.events("fence_requested", since=began) == []
    guarded.break_("heal")
    guarded.wait_group(on=owner)
    assert guarded.last_run().pid == life.pid


def test_a_hanging_server_whose_bmc_is_dead_is_ended_by_a_pill(guarded: ClusterUnderTest) -> None:
    owner = guarded.owner()
    guarded.break_("bmc", owner, "dead")
    guarded.break_("pause", owner)
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    assert guarded.group()["proof"] == "fenced"
    assert guarded.lab_server(owner)["state"] == "off"


def test_a_server_that_still_reads_its_mailbox_obeys_the_pill(guarded: ClusterUnderTest) -> None:
    owner = guarded.owner()
    boot = guarded.status(f"server/{owner}")["bootId"]
    guarded.break_("bmc", owner, "dead")
    guarded.ctl("fence", owner, "--yes-i-mean", owner, "--no-wait", check=False)
    guarded.wait_event("machine_reset", guarded.began_wall, by=owner, timeout_s=2 * WAIT_S)
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    guarded.break_("bmc", owner, "ok")
    if guarded.lab_server(owner)["state"] == "off":
        guarded.break_("power", owner, "on")
    guarded.wait_new_boot(owner, boot)
