"""Cut networks and frozen programs: an isolated owner is fenced and never runs twice; a lost link,
a paused agent or pulse disturbs no service."""

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, ClusterUnderTest, now_wall

pytestmark = marks.long


def _others(*names: str) -> list[str]:
    return [name for name in SERVERS if name not in names]


@pytest.mark.parametrize("network", ["private", "public"])
def test_one_network_cut_is_no_reason_to_fence(cluster: ClusterUnderTest, network: str) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    cluster.break_("cut", owner, "--network", network)
    other = _others(owner)[0]
    cluster.eventually(
        lambda: cluster.paths(other, owner).get(network) == "silent", f"{other} says what is cut"
    )
    if network == "private":  # the store runs over it: the session ends, the heartbeat goes on
        cluster.wait_session_end(owner)
    cluster.beats_for(3.0)
    assert cluster.events("fence_requested", since=began) == []
    cluster.break_("heal")
    cluster.wait_group(on=owner)
    assert cluster.last_run().pid == life.pid


def test_an_isolated_owner_is_fenced_and_never_runs_twice(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    boot = cluster.status(f"server/{owner}")["bootId"]
    cluster.break_("cut", owner, "--network", "all")
    cluster.wait_group(not_on=owner)
    assert cluster.group()["proof"] == "fenced"
    cluster.break_("heal")
    cluster.wait_new_boot(owner, boot)


def test_a_lost_link_between_two_servers_fences_nobody(cluster: ClusterUnderTest) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    other = _others(owner)[0]
    cluster.break_("cut", owner, "--network", "all", "--from", other)
    cluster.eventually(
        lambda: set(cluster.paths(other, owner).values()) == {"silent"}, f"{other} is deaf to it"
    )
    cluster.beats_for(5.0)
    assert cluster.events("fence_requested", since=began) == []
    assert cluster.last_run().pid == life.pid
    cluster.break_("heal")


def test_an_agent_that_stands_still_stops_no_service(cluster: ClusterUnderTest) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    cluster.break_("pause", f"{owner}/agent")
    cluster.wait_session_end(owner)
    cluster.beats_on(owner)
    assert cluster.events("fence_requested", since=began) == []
    cluster.break_("resume", f"{owner}/agent")
    cluster.wait_servers(owner)
    cluster.wait_group(on=owner)
    assert cluster.last_run().pid == life.pid
    assert cluster.events("machine_reset", "dead_man_fired", since=began) == []


def test_a_pulse_that_stands_still_is_replaced_and_fences_nobody(
    cluster: ClusterUnderTest,
) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    cluster.break_("pause", f"{owner}/pulse")
    cluster.wait_event("pulse_lost", began, by=owner)
    cluster.beats_on(owner)
    cluster.wait_event("pulse_heard", began, by=owner)
    cluster.wait_servers()
    cluster.wait_group(on=owner)
    assert cluster.events("fence_requested", since=began) == []
    assert cluster.last_run().pid == life.pid


def test_a_killed_pulse_is_replaced_and_fences_nobody(cluster: ClusterUnderTest) -> None:
    owner, life, began = cluster.owner(), cluster.last_run(), now_wall()
    cluster.break_("kill", f"{owner}/pulse")
    cluster.wait_event("pulse_started", began, by=owner)
    cluster.wait_servers()
    cluster.wait_group(on=owner)
    assert cluster.events("fence_requested", since=began) == []
    assert cluster.last_run().pid == life.pid


def test_a_server_that_stood_still_was_fenced_before_it_came_back(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    boot = cluster.status(f"server/{owner}")["bootId"]
    cluster.break_("pause", owner)
    cluster.wait_group(not_on=owner)
    cluster.break_("resume", owner, check=False)  # there is nothing left to resume
    cluster.wait_new_boot(owner, boot)


def test_a_paused_server_with_a_dead_bmc_comes_back_as_the_only_owner(
    cluster: ClusterUnderTest,
) -> None:
    """The hardest one: nobody can prove it off, it wakes up and goes on."""
    owner = cluster.owner()
    cluster.break_("bmc", owner, "dead")
    cluster.break_("pause", owner)
    cluster.wait_reason("did not answer")
    cluster.wait_session_end(owner)
    cluster.break_("resume", owner)
    cluster.break_("bmc", owner, "ok")
    cluster.wait_servers()
    cluster.wait_group()
