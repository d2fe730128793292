"""agent hold, release, status; and one dead server is one warning."""

import json

from reconciler.decide.records import Cordon, Hold, OperationKind, ServerStatus
from tests.clusterctl.conftest import KEYS, WALL, FakeCluster

HOLD = Hold(
    server="n1",
    boot_id="boot-n1",
    id="01",
    for_s=600,
    until_wall=WALL + 600,
    in_force=True,
    who="alice@ops",
    why="new kernel\x1b[31m",
)


def test_a_hold_is_a_wish_about_the_server_with_its_time(cluster: FakeCluster) -> None:
    cluster.online().answers["hold"] = (True, "n1 may be without its agent until 16:40")
    result = cluster.run("agent", "hold", "--until", "10m", "--server", "n1", "--why", "upgrade")
    assert result.code == 0, result.err
    assert "n1 may be without its agent" in result.out
    (wish,) = cluster.operations()
    assert (wish.kind, wish.target, wish.for_s, wish.why) == (
        OperationKind.HOLD,
        "server/n1",
        600.0,
        "upgrade",
    )


def test_a_refused_hold_tells_why_and_ends_with_5(cluster: FakeCluster) -> None:
    cluster.online().refuses["hold"] = "n1 is silent: its pulse cannot be told"
    result = cluster.run("agent", "hold", "--until", "10m", "--server", "n1")
    assert result.code == 5
    assert "its pulse cannot be told" in result.err


def test_a_server_that_is_not_there_is_named_with_the_nearest(cluster: FakeCluster) -> None:
    cluster.online()
    assert cluster.run("agent", "hold", "--until", "10m", "--server", "m1").code == 2
    assert cluster.run("agent", "hold", "--server", "n1").code == 2
    assert cluster.run("agent", "status", "m1").code == 2


def test_release(cluster: FakeCluster) -> None:
    cluster.online().answers["release-hold"] = (True, "n1 is not held")
    assert cluster.run("agent", "release", "--server", "n1").code == 0
    assert cluster.operations()[0].kind is OperationKind.RELEASE_HOLD


def test_status_shows_who_holds_until_when(cluster: FakeCluster) -> None:
    cluster.online().put(KEYS.hold("n1"), HOLD)
    cluster.remove(KEYS.session("n2"))
    lines = cluster.run("agent", "status").out.splitlines()
    assert lines[0].split() == ["SERVER", "AGENT", "VERSION", "HOLD", "BY", "WHY"]
    assert "until" in lines[1]
    assert "alice@ops  new kernel [31m" in lines[1]
    assert "○ away" in lines[2]
    shown = json.loads(cluster.run("agent", "status", "n1", "-o", "json").out)
    assert shown[0]["hold"]["inForce"] is True
    screen = cluster.run("status").out
    assert "server/n1: its agent is on hold until" in screen
    assert "next: clusterctl agent release --server n1" in screen


def test_a_drained_server_is_not_forgotten(cluster: FakeCluster) -> None:
    cluster.online()
    cluster.put(KEYS.cordon("n2"), Cordon(server="n2", who="alice@ops", why="new memory"))
    shutdown = Cordon(server="n1", boot_id="an older boot", who="drain")
    cluster.put(KEYS.cordon("n1"), shutdown)
    screen = cluster.run("status").out
    assert "server/n2: is drained and takes no groups: by alice@ops: new memory" in screen
    assert "next: clusterctl undrain n2" in screen
    assert "n1: is" not in screen, "it has started again since"


def test_a_final_action_that_stopped_the_agent_is_said_with_the_way_back(
    cluster: FakeCluster,
) -> None:
    """Its agent is started again by hand, and it gets no groups for the rest of its boot."""
    cluster.online()
    boot = "boot-n3"
    left = Cordon(server="n3", boot_id=boot, who="final action on n3", why="monitor web failed")
    cluster.put(KEYS.cordon("n3"), left)
    for _ in range(2):  # its agent was started again, and is away
        text = "n3: gave its groups away and takes none until its next boot: by final action on n3"
        screen = cluster.run("status").out
        assert f"server/{text}: monitor web failed" in screen
        assert "next: clusterctl undrain n3" in screen
        told = cluster.run("why", "server/n3").out
        assert text.replace("n3:", "n3", 1) in told
        assert "clusterctl undrain n3" in told
        checks = json.loads(cluster.run("doctor", "-o", "json").out)
        found = [c for c in checks if c["id"] == "takes-groups" and c["subject"] == "n3"]
        assert [(c["result"], c["next"]) for c in found] == [("WARN", "clusterctl undrain n3")]
        cluster.remove(KEYS.session("n3"))


def test_one_dead_server_is_one_warning(cluster: FakeCluster) -> None:
    cluster.online()
    cluster.remove(KEYS.session("n3"))
    for name, number in (("n1", 1), ("n2", 2)):
        heard = {"n3": {"private": "silent", "public": "silent"}}
        status = ServerStatus(
            server=name, boot_id=f"boot-{name}", incarnation=f"i{number}", heartbeats=heard
        )
        cluster.put(KEYS.server_status(name), status)
    found = json.loads(cluster.run("status", "-o", "json").out)["attention"]
    assert [item["object"] for item in found if item["object"].startswith("server/")] == [
        "server/n3"
    ]
