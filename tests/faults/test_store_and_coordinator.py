"""Faults of those who decide and remember: the coordinator's server, etcd members, its leader, and
all of them at once. Also fencing that can not work."""

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, ClusterUnderTest, now_wall

pytestmark = marks.long


def test_a_crash_of_the_coordinators_server_disturbs_no_other(cluster: ClusterUnderTest) -> None:
    coordinator = cluster.coordinator()
    if cluster.owner() == coordinator:
        cluster.ctl("move", "group/web")
    life = cluster.last_run()
    boot = cluster.status(f"server/{coordinator}")["bootId"]
    cluster.break_("crash", coordinator)
    cluster.eventually(lambda: cluster.coordinator() not in ("", coordinator), "another decides")
    cluster.wait_new_boot(coordinator, boot)
    assert cluster.last_run().pid == life.pid
    cluster.wait_group()


def test_a_crash_of_the_owner_that_also_decides_and_leads_the_store(
    cluster: ClusterUnderTest,
) -> None:
    leader = cluster.store_leader()
    if cluster.owner() != leader:
        cluster.ctl("move", "group/web", "--to", leader)
    boot = cluster.status(f"server/{leader}")["bootId"]
    cluster.break_("crash", leader)
    cluster.wait_group(not_on=leader)
    cluster.wait_new_boot(leader, boot)


def test_one_etcd_member_killed_or_paused_disturbs_nothing(cluster: ClusterUnderTest) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    for server in SERVERS:
        cluster.break_("kill", f"{server}/etcd")
        cluster.eventually(lambda s=server: cluster.lab_server(s)["processes"]["etcd"], "it is up")
        cluster.wait_servers()
        cluster.break_("pause", f"{server}/etcd")
        cluster.beats_for(3.0)
        cluster.break_("resume", f"{server}/etcd")
        cluster.wait_servers()
    cluster.wait_group(on=owner)
    assert cluster.last_run().pid == life.pid
    assert cluster.events("fence_requested", since=began) == []


def test_without_the_store_everything_runs_on(cluster: ClusterUnderTest) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    for server in SERVERS:
        cluster.break_("pause", f"{server}/etcd")
    cluster.beats_for(15.0)  # longer than a session lives
    cluster.beats_on(owner)
    for server in SERVERS:
        cluster.break_("resume", f"{server}/etcd")
    cluster.wait_servers()
    cluster.wait_group(on=owner)
    assert cluster.last_run().pid == life.pid
    assert cluster.events("fence_requested", "dead_man_fired", since=began) == []


def test_a_wrong_bmc_password_blocks_until_it_is_right(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    cluster.break_("bmc", owner, "wrong-password")
    cluster.break_("crash", owner)
    cluster.wait_reason("password")
    assert cluster.group()["phase"] == "blocked"
    cluster.break_("bmc", owner, "ok")
    cluster.wait_group(not_on=owner, timeout_s=60)
    assert cluster.group()["proof"] == "fenced"


def test_a_missing_password_file_is_that_servers_failure_with_its_path(
    cluster: ClusterUnderTest,
) -> None:
    path = "/etc/clusterctl/secrets/bmc-n1"
    began = now_wall()
    cluster.on("n2", "mv", path, f"{path}.away")
    try:
        cluster.break_("kill", "n2/agent")  # its first act is to test all devices
        event = cluster.wait_event("fence_test_failed", began, by="n2", server="n1")
        assert path in event["detail"]
        cluster.eventually(lambda: _failed_tests(cluster, "n1") == ["n2"], "status shows it")
        assert cluster.status("server/n2")["fencing"]["ok"]
    finally:
        cluster.on("n2", "mv", f"{path}.away", path)
        cluster.break_("kill", "n2/agent")
    cluster.eventually(lambda: _failed_tests(cluster, "n1") == [], "it is well again")


def _failed_tests(cluster: ClusterUnderTest, server: str) -> list[str]:
    tests = cluster.status(f"server/{server}")["fencing"]["tests"]
    return [test["by"] for test in tests if not test["ok"]]
