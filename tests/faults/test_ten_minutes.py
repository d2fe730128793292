"""Everything that may die, one after the other, for ten minutes on one lab."""

import os
import random
import time

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, ClusterUnderTest

pytestmark = [pytest.mark.timeout(1200), *marks.long]

FOR_S = float(os.environ.get("FAULT_SECONDS", "600"))
SECOND_ADDRESS = "10.77.2.101"


def test_services_are_right_after_ten_minutes_of_kills(cluster: ClusterUnderTest) -> None:
    cluster.apply_group("mail", SECOND_ADDRESS)
    cluster.wait_group(name="mail")
    rng = random.Random(int(os.environ.get("FAULT_SEED", "1")))
    ends, rounds = time.monotonic() + FOR_S, 0
    while time.monotonic() < ends:
        _kill_one_of_each(cluster, rng)
        rounds += 1
    assert rounds
    for name in ("web", "mail"):
        cluster.wait_group(name=name)
        cluster.beats_on(cluster.owner(name), name)
        cluster.assert_safe(name)


def _kill_one_of_each(cluster: ClusterUnderTest, rng: random.Random) -> None:
    """Agent, pulse, the coordinator's server, one etcd member; each time all is well again."""
    for kind in ("agent", "pulse", "coordinator", "etcd"):
        if kind == "coordinator":
            victim = cluster.coordinator()
            boot = cluster.status(f"server/{victim}")["bootId"]
            cluster.break_("crash", victim)
            cluster.wait_new_boot(victim, boot)
        else:
            cluster.break_("kill", f"{rng.choice(SERVERS)}/{kind}")
        for name in ("web", "mail"):
            cluster.wait_group(name=name)
            cluster.assert_safe(name)
        cluster.wait_servers()
