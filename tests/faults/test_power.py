"""Power lost on several servers at once: nothing starts without quorum, a cold start waits for
those that are missing, and nobody runs twice afterwards."""

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long

BARRIER_S = 60.0


def test_after_a_power_loss_of_all_everything_runs_again(cluster: ClusterUnderTest) -> None:
    boots = {name: cluster.status(f"server/{name}")["bootId"] for name in SERVERS}
    _power_off_all(cluster)
    life, began = cluster.last_run(), now_wall()
    for server in SERVERS:
        cluster.break_("power", server, "on")
    for server in SERVERS:
        cluster.wait_new_boot(server, boots[server])
    cluster.wait_group()
    cluster.beats_on(cluster.owner())
    assert cluster.last_run().began > life.ended
    assert cluster.events("fence_requested", since=began) == [], "slow boots are waited for"


def test_a_cold_start_waits_for_a_missing_server_until_a_person_goes_on(
    cluster: ClusterUnderTest,
) -> None:
    absent = next(name for name in SERVERS if name != cluster.owner())
    present = [name for name in SERVERS if name != absent]
    boots = {name: cluster.status(f"server/{name}")["bootId"] for name in present}
    _power_off_all(cluster)
    life = cluster.last_run()
    for server in present:
        cluster.break_("power", server, "on")
    for server in present:
        cluster.wait_new_boot(server, boots[server])
    cluster.wait_reason(f"waiting for {absent}")
    assert cluster.last_run() == life, "nothing starts before all are there"
    cluster.ctl("barrier", "bypass")
    cluster.wait_group()
    cluster.beats_on(cluster.owner())


def _power_off_all(cluster: ClusterUnderTest) -> None:
    """As if at once: without the management network no survivor can fence, and so switch on, those
    that went first."""
    for server in SERVERS:
        cluster.break_("cut", server, "--network", "management")
    for server in SERVERS:
        cluster.break_("power", server, "off")
    cluster.break_("heal")


def test_two_servers_at_once_leave_no_quorum_and_nothing_starts(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    other = next(name for name in SERVERS if name != owner)
    for server in SERVERS:  # else the others are quick enough to take over between the crashes
        cluster.break_("cut", server, "--network", "management")
    for server in (owner, other):
        cluster.break_("crash", server)
    cluster.break_("heal")
    life = cluster.last_run()
    for _ in range(2):  # each asks for 5 s
        assert cluster.ctl("get", "group/web", check=False).status == 3
    assert cluster.last_run() == life
    cluster.break_("power", other, "on")
    # if the one that boots decides, it waits for the missing server as at a cold start
    cluster.wait_group(not_on=owner, timeout_s=BARRIER_S + WAIT_S)
    assert cluster.group()["proof"] == "fenced"


def test_the_last_of_three_keeps_its_group_or_is_stopped_but_never_doubled(
    cluster: ClusterUnderTest,
) -> None:
    """It hears nobody, so it can not know whether the others are dead or it is alone."""
    owner = cluster.owner()
    others = [name for name in SERVERS if name != owner]
    boots = {name: cluster.status(f"server/{name}")["bootId"] for name in others}
    for server in others:
        cluster.break_("crash", server)
    for server in others:
        cluster.break_("power", server, "on")
    for server in others:
        cluster.wait_new_boot(server, boots[server])
    cluster.wait_group()
    cluster.beats_on(cluster.owner())
