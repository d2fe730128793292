"""The group that the cluster makes for a hybrid disk's other side is shown and moved as any."""

import json

from reconciler.decide.records import GroupStatus, Ownership, Phase, ResourceStatus
from tests.clusterctl.conftest import KEYS, FakeCluster


def following(cluster: FakeCluster, of: str = "web") -> FakeCluster:
    cluster.online()
    own = Ownership(group="web-standby", epoch=5, owner="n2", boot_id="boot-n2", follows=of)
    cluster.put(KEYS.group("web-standby"), own)
    status = GroupStatus(
        group="web-standby",
        server="n2",
        epoch=5,
        phase=Phase.ONLINE,
        resources=(ResourceStatus(name="data-standby", type="hybrid-disk", state="active"),),
    )
    cluster.put(KEYS.group_status("n2", "web-standby"), status)
    return cluster


def test_it_is_shown_with_the_others(cluster: FakeCluster) -> None:
    found = json.loads(following(cluster).run("get", "groups", "-o", "json").out)
    assert [one["metadata"]["name"] for one in found] == ["web", "web-standby"]
    assert found[1]["status"]["owner"] == "n2"
    assert found[1]["status"]["phase"] == "online"
    assert "group/web" in cluster.run("get", "group/web-standby", "-o", "yaml").out
    for command in (("describe",), ("why",)):
        assert cluster.run(*command, "group/web-standby").code == 0, command


def test_it_is_a_leftover_only_without_the_group_that_it_follows(cluster: FakeCluster) -> None:
    gone = "is in no spec any more"
    assert gone not in following(cluster).run("status", "-o", "json").out
    assert gone in following(cluster, of="gone").run("status", "-o", "json").out


def test_it_is_moved(cluster: FakeCluster) -> None:
    following(cluster).answers["move"] = (True, "moved")
    assert cluster.run("move", "web-standby", "--to", "n3").code == 0
    assert cluster.run("move", "web-standbye", "--to", "n3").code == 2
