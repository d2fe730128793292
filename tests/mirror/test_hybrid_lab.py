"""A hybrid disk through crashes within a server group, and of a whole one; see `hybrid_lab`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.lab_under_test import clusterctl, eventually
from tests.mirror.hybrid_lab import MARKS, WAIT_S, HybridLab, back, hybrid_lab, up

pytestmark = [pytest.mark.timeout(900), *MARKS]  # the first one counts


@pytest.fixture
def hybrid(tmp_path: Path) -> Iterator[HybridLab]:
    with hybrid_lab(tmp_path) as lab:
        yield lab


def test_failover_within_a_server_group_and_between_them_loses_no_acknowledged_row(
    hybrid: HybridLab, tmp_path: Path
) -> None:
    up(hybrid, tmp_path / "hybrid.yaml")
    following = hybrid.group("db-standby")["epoch"]

    # The owner dies: the other server of its group serves the same disk, the mirror goes on.
    counter = hybrid.count("n1")
    hybrid.lab.lab("power", "n1", "off")
    hybrid.counted(counter)
    hybrid.runs_on("db", "n2")
    hybrid.has_everything("n2")
    assert hybrid.group("db-standby")["epoch"] == following
    assert hybrid.group("db-standby")["owner"] == "n3"
    hybrid.in_sync("n2")
    assert "how='difference'" in hybrid.log("n2")
    assert "how='full'" not in hybrid.log("n2")

    # The current server of the other group dies: the next one follows.
    counter = hybrid.count("n2")
    hybrid.lab.lab("crash", "n3")
    hybrid.runs_on("db-standby", "n4")
    hybrid.counted(counter)
    assert hybrid.group("db")["owner"] == "n2"
    hybrid.in_sync("n2")
    assert hybrid.log("n2").count("mirror_copy_started") >= 2
    assert "how='full'" not in hybrid.log("n2")

    # The server group is lost: what follows serves, with everything.
    back("n1", "n3")
    clusterctl("drain", "server/n1")
    counter = hybrid.count("n2")
    hybrid.lab.lab("power", "n2", "off")
    hybrid.counted(counter)
    hybrid.runs_on("db", "n4")
    hybrid.has_everything("n4")

    # It comes back as the side that follows, and may serve again.
    clusterctl("undrain", "server/n1")
    hybrid.runs_on("db-standby", "n1", "n2")
    hybrid.in_sync("n4")
    clusterctl("move", "group/db-standby", "--to", "n1")
    hybrid.in_sync("n4")
    clusterctl("move", "group/db", "--to", "n1")
    hybrid.runs_on("db", "n1")
    hybrid.has_everything("n1")
    hybrid.runs_on("db-standby", "n3", "n4")
    hybrid.in_sync("n1")
    assert len(hybrid.engines()) == 2


def test_agents_and_engines_that_die_take_no_role_away(hybrid: HybridLab, tmp_path: Path) -> None:
    up(hybrid, tmp_path / "hybrid.yaml")
    epochs = {name: hybrid.group(name)["epoch"] for name in ("db", "db-standby")}
    counter = hybrid.count("n1")
    for server in ("n1", "n3"):
        hybrid.lab.lab("kill", f"{server}/agent")
    hybrid.runs_on("db", "n1")
    hybrid.runs_on("db-standby", "n3")
    before = int(hybrid.told.read_bytes())
    eventually(lambda: int(hybrid.told.read_bytes()) > before + 30, "it counts on", WAIT_S)

    # The side that follows is started again in place.
    hybrid.end_engine("n3")
    hybrid.in_sync("n1")
    # The one that serves is, too: its programs get errors, and everything that was told is there.
    hybrid.end_engine("n1")
    hybrid.counted(counter)
    eventually(lambda: hybrid.is_mounted("n1"), "it is mounted again", WAIT_S)
    hybrid.has_everything("n1")
    hybrid.in_sync("n1")
    assert {name: hybrid.group(name)["epoch"] for name in epochs} == epochs

    # Drained, a server gives its role to the other one of its server group.
    clusterctl("drain", "server/n3")
    hybrid.runs_on("db-standby", "n4")
    hybrid.in_sync("n1")
    assert hybrid.engines() == {"n1", "n4"}
    clusterctl("stop", "group/db")
    eventually(lambda: hybrid.engines() == {"n4"}, "nothing is left of it", WAIT_S)
    clusterctl("start", "group/db")
    hybrid.runs_on("db", "n1", "n2")
    hybrid.has_everything(str(hybrid.group("db")["owner"]))
