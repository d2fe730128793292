"""Power lost on several servers at once: nothing starts without quorum, a cold start waits for
those that are missing, and nobody runs twice afterwards."""

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, ClusterUnderTest

pytestmark = marks.long


def test_after_a_power_loss_of_all_everything_runs_again(cluster: ClusterUnderTest) -> None:
    boots = {name: cluster.status(f"server/{name}")["bootId"] for name in SERVERS}
    for server in SERVERS:
        cluster.break_("power", server, "off")
    life = cluster.last_run()
    for server in SERVERS:
        cluster.break_("power", server, "on")
    for server in SERVERS:
        cluster.wait_new_boot(server, boots[server])
    cluster.wait_group()
    cluster.beats_on(cluster.owner())
    assert cluster.last_run().began > life.ended


def test_a_cold_start_waits_for_a_missing_server_until_a_person_goes_on(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    present = [name for name in SERVERS if name != owner]
    for server in SERVERS:
        cluster.break_("power", server, "off")
    life = cluster.last_run()
    for server in present:
        cluster.break_("power", server, "on")
    cluster.wait_servers(*present)
    cluster.wait_reason(owner, timeout_s=20)
    assert cluster.last_run() == life, "nothing starts before all are there"
    assert cluster.group()["phase"] != "online"
    cluster.ctl("barrier", "bypass")
    cluster.wait_group(not_on=owner)


def test_two_servers_at_once_leave_no_quorum_and_nothing_starts(
    cluster: ClusterUnderTest,
) -> None:
    owner = cluster.owner()
    other = next(name for name in SERVERS if name != owner)
    for server in (owner, other):
        cluster.break_("crash", server)
    life = cluster.last_run()
    answer = cluster.ctl("get", "group/web", check=False)
    assert answer.status == 3, "the store can not be asked"
    cluster.eventually(
        lambda: cluster.ctl("status", check=False).status == 3, "it stays so", timeout_s=5
    )
    assert cluster.last_run() == life
    cluster.break_("power", other, "on")
    cluster.wait_servers(other)
    cluster.wait_group(not_on=owner)
    cluster.break_("power", owner, "on")
    cluster.wait_servers()


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
