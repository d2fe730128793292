"""The main promises on a real lab: a dead owner is fenced before its group runs elsewhere, a lying
or dead BMC never makes a second owner, and neither agents nor operators disturb a service."""

from tests.faults import marks
from tests.faults.cluster_under_test import ADDRESS, ClusterUnderTest
from tests.faults.shell import Answer

pytestmark = marks.bounded


def test_the_group_of_a_crashed_server_runs_elsewhere_after_its_fence(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    boot = cluster.status(f"server/{owner}")["bootId"]
    cluster.break_("crash", owner)
    cluster.wait_group(not_on=owner)
    assert cluster.group()["cause"] == f"{owner} was fenced"
    assert cluster.group()["proof"] == "fenced"
    cluster.wait_servers(owner)
    assert cluster.status(f"server/{owner}")["bootId"] != boot
    assert cluster.owner() != owner, "failback is manual"


def test_a_lying_bmc_makes_no_second_owner(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    life = cluster.last_run()
    cluster.break_("bmc", owner, "says-off")
    cluster.break_("pause", f"{owner}/agent")
    cluster.break_("pause", f"{owner}/pulse")
    cluster.wait_reason(f"{ADDRESS} still answers from")
    assert cluster.group()["phase"] == "blocked"
    cluster.eventually(lambda: cluster.group()["needsPerson"], "it says that a person is needed")
    cluster.beats_on(owner)

    # nor does a person who believes the BMC
    assert _confirm(cluster, owner).status == 5
    cluster.eventually(
        lambda: f"{owner} has a session" not in _confirm(cluster, owner).err, "the session ends"
    )
    refused = _confirm(cluster, owner)
    assert refused.status == 5
    assert f"{ADDRESS} still answers from" in refused.err
    cluster.beats_on(owner)

    cluster.break_("bmc", owner, "ok")
    cluster.break_("resume", f"{owner}/agent")
    cluster.break_("resume", f"{owner}/pulse")
    cluster.wait_group(on=owner)
    assert cluster.last_run().pid == life.pid, "the service never noticed"


def _confirm(cluster: ClusterUnderTest, server: str) -> Answer:
    return cluster.ctl("fence", "confirm", server, "--yes-i-mean", server, check=False)


def test_behind_a_dead_bmc_only_a_person_can_say_that_the_power_is_off(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    assert _confirm(cluster, owner).status == 5, "it is heard"
    cluster.break_("bmc", owner, "dead")
    cluster.break_("crash", owner)
    assert _confirm(cluster, owner).status == 5, "its session has not ended yet"
    cluster.wait_reason("fencing", "failed", "BMC")
    assert cluster.group()["phase"] == "blocked"
    cluster.eventually(lambda: cluster.group()["needsPerson"], "it says that a person is needed")
    assert f"fence confirm {owner}" in cluster.group()["nextCommand"]
    cluster.break_("power", owner, "off")
    cluster.eventually(lambda: _confirm(cluster, owner).status == 0, "confirm is accepted")
    cluster.wait_group(not_on=owner)
    assert cluster.group()["proof"] == "confirmed"


def test_a_killed_agent_comes_back_and_adopts_what_runs(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    life, epoch = cluster.last_run(), cluster.group()["epoch"]
    (before,) = cluster.lab_server(owner)["processes"]["agent"]
    cluster.break_("kill", f"{owner}/agent")
    cluster.eventually(
        lambda: cluster.lab_server(owner)["processes"]["agent"] not in ([], [before]),
        "the agent runs again",
    )
    cluster.wait_servers(owner)
    cluster.wait_group(on=owner)
    cluster.beats_on(owner)
    assert cluster.last_run().pid == life.pid
    assert cluster.last_run().began == life.began
    assert cluster.group()["epoch"] == epoch


def test_a_move_there_and_back(cluster: ClusterUnderTest) -> None:
    owner, epoch = cluster.owner(), cluster.group()["epoch"]
    other = next(name for name in ("n1", "n2") if name != owner)
    cluster.ctl("move", "group/web", "--to", other)
    cluster.wait_group(on=other)
    cluster.beats_on(other)
    cluster.ctl("move", "group/web", "--to", owner)
    cluster.wait_group(on=owner)
    assert cluster.group()["epoch"] == epoch + 2
    assert cluster.group()["proof"] == "released"


def test_stop_and_start(cluster: ClusterUnderTest) -> None:
    cluster.ctl("stop", "group/web")
    cluster.wait_group("offline")
    assert cluster.last_run().clean
    cluster.ctl("start", "group/web")
    cluster.wait_group()
    cluster.beats_on(cluster.owner())


def test_one_resource_is_stopped_and_started_alone(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    cluster.ctl("stop", "resource/web-witness")
    assert cluster.last_run().clean
    assert _state(cluster, "web-witness") == "inactive"
    assert _state(cluster, "web-address") == "active"
    assert ADDRESS in cluster.on(owner, "ip", "-4", "address")
    cluster.ctl("start", "resource/web-witness")
    cluster.beats_on(owner)
    assert _state(cluster, "web-witness") == "active"


def _state(cluster: ClusterUnderTest, resource: str) -> str:
    found = {each["name"]: each["state"] for each in cluster.group()["resources"]}
    return str(found[resource])
