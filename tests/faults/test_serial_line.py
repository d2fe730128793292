"""A serial line between two servers: who is heard there is not fenced for dead networks."""

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import ClusterUnderTest, now_wall

pytestmark = marks.long

LINE = """\
  heartbeatPaths:
    - {name: line, type: serial, devices: {n1: /srv/serial-n1, n2: /srv/serial-n2}}
"""


@pytest.fixture
def joined(cluster: ClusterUnderTest) -> ClusterUnderTest:
    """The line carries heartbeats, and the group runs at one of its ends."""
    path = cluster.lab.directory / "specs" / "cluster.yaml"
    if "heartbeatPaths" not in path.read_text():
        path.write_text(path.read_text() + LINE)
        cluster.ctl("apply", str(path.parent))
    cluster.eventually(
        lambda: (
            [cluster.paths(*pair).get("line") for pair in (("n1", "n2"), ("n2", "n1"))]
            == ["heard", "heard"]
        ),
        "both ends of the line are heard",
    )
    if cluster.owner() != "n1":
        cluster.ctl("move", "group/web", "--to", "n1")
        cluster.wait_group(on="n1")
    return cluster


def test_the_private_network_may_be_cut_while_the_line_is_heard(joined: ClusterUnderTest) -> None:
    life, began = joined.last_run(), now_wall()
    joined.break_("cut", "n1", "--network", "private")
    joined.eventually(
        lambda: joined.paths("n2", "n1").get("private") == "silent", "the private one is silent"
    )
    heard = joined.paths("n2", "n1")
    assert (heard["line"], heard["public"]) == ("heard", "heard")
    assert "n1 on private" in joined.ctl("status", check=False).out
    assert "line" in joined.ctl("describe", "server/n2").out
    joined.beats_for(2.0)
    assert joined.events("fence_requested", since=began) == []
    assert joined.last_run().pid == life.pid


def test_a_server_without_any_network_is_heard_on_the_line_and_left_alone(
    joined: ClusterUnderTest,
) -> None:
    """n3 is not at the line: it does not hear n1 at all, and n2 does, so nobody is silent."""
    life, began = joined.last_run(), now_wall()
    joined.break_("cut", "n1", "--network", "all")
    joined.eventually(
        lambda: set(joined.paths("n3", "n1").values()) == {"silent"}, "n3 hears nothing of n1"
    )
    joined.wait_session_end("n1")
    assert joined.paths("n2", "n1")["line"] == "heard"
    joined.beats_for(3.0)
    assert joined.events("fence_requested", since=began) == []
    assert "n1 is heard but" in joined.ctl("status", check=False).out
    joined.break_("heal")
    joined.wait_group(on="n1")
    assert joined.last_run().pid == life.pid
