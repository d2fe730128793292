"""get, describe, status, events: shapes that scripts rely on, and honest words for people."""

import json

from reconciler.decide.records import (
    EventRecord,
    FencingTest,
    Operation,
    OperationKind,
    Phase,
    ServerStatus,
    Verdict,
)
from tests.clusterctl.conftest import KEYS, WALL, FakeCluster


def event(number: int, name: str, **fields: object) -> EventRecord:
    return EventRecord(
        id=f"{number:026d}", name=name, server="n2", at_wall=WALL - 600 + number, fields=fields
    )


def test_get_groups_as_json_is_a_list_of_objects_with_status(cluster: FakeCluster) -> None:
    found = json.loads(cluster.online().run("get", "group", "-o", "json").out)
    assert [item["metadata"]["name"] for item in found] == ["web"]
    group = found[0]
    assert set(group) == {"apiVersion", "kind", "metadata", "spec", "status"}
    assert (group["apiVersion"], group["kind"]) == ("clusterctl/v1", "Group")
    assert group["spec"]["servers"] == ["n1", "n2"]
    status = group["status"]
    assert status["owner"] == "n1"
    assert status["epoch"] == 3
    assert status["phase"] == "online"
    assert status["reasons"] == []
    assert status["previousOwner"] == "n2"
    assert status["cause"] == "n2 was fenced"
    assert [resource["state"] for resource in status["resources"]] == ["active", "active"]


def test_get_one_group_is_a_list_of_one(cluster: FakeCluster) -> None:
    cluster.online()
    assert len(json.loads(cluster.run("get", "group/web", "-o", "json").out)) == 1
    assert len(json.loads(cluster.run("get", "group", "web", "-o", "json").out)) == 1


def test_get_servers_as_json(cluster: FakeCluster) -> None:
    found = json.loads(cluster.online().run("get", "servers", "-o", "json").out)
    status = found[0]["status"]
    assert status["state"] == "online"
    assert status["bootId"] == "boot-n1"
    assert status["heartbeats"]["n2"] == {"private": "heard", "public": "heard"}
    assert status["fencing"]["levels"] == ["test-pdu"]
    assert status["groups"] == ["web"]


def test_every_kind_has_all_outputs(cluster: FakeCluster) -> None:
    cluster.online()
    for kind in ("cluster", "server", "servergroup", "group", "resource", "monitor"):
        for output in ("table", "wide", "yaml", "json", "name"):
            result = cluster.run("get", kind, "-o", output)
            assert result.code == 0, (kind, output, result.err)
        shown = json.loads(cluster.run("get", kind, "-o", "json").out)
        assert all("status" in item for item in shown)


def test_get_resources_tells_where_they_are(cluster: FakeCluster) -> None:
    found = json.loads(cluster.online().run("get", "resource/web-ip", "-o", "json").out)
    assert found[0]["status"]["state"] == "active"
    assert found[0]["status"]["server"] == "n1"


def test_get_of_a_name_that_does_not_exist_offers_the_nearest(cluster: FakeCluster) -> None:
    result = cluster.applied().run("get", "group/wep")
    assert result.code == 2
    assert "there is no group/wep, did you mean 'web'?" in result.err
    assert cluster.run("get", "grups").code == 2
    assert cluster.run("get").code == 2


def test_get_table(cluster: FakeCluster) -> None:
    lines = cluster.online().run("get", "groups").out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "ON", "SINCE", "EPOCH"]
    assert lines[1].split() == ["web", "●", "online", "n1", "5m", "3"]
    assert "[ok] online" in cluster.run("get", "groups", "--ascii").out


def test_get_operations(cluster: FakeCluster) -> None:
    wish = Operation(
        id="01ABC", kind=OperationKind.MOVE, target="group/web", to="n2", who="eve\x1b[2J"
    )
    cluster.online().put(KEYS.operation("01ABC"), wish)
    shown = json.loads(cluster.run("get", "operation/01ABC", "-o", "json").out)[0]
    assert shown["spec"]["to"] == "n2"
    assert shown["status"]["phase"] == "pending"
    assert "\x1b" not in cluster.run("get", "operations", "-o", "wide").out


def test_old_green_is_not_shown_when_the_owner_is_gone(cluster: FakeCluster) -> None:
    cluster.online().remove(KEYS.session("n1"))
    group = json.loads(cluster.run("get", "group/web", "-o", "json").out)[0]
    assert group["status"]["phase"] == "blocked"
    assert group["status"]["resources"][0]["state"] == "unknown"
    server = json.loads(cluster.run("get", "server/n1", "-o", "json").out)[0]
    assert server["status"]["state"] == "suspect"  # the others still report that they hear it
    assert server["status"]["heartbeats"] == {}


def test_status_of_a_healthy_cluster(cluster: FakeCluster) -> None:
    result = cluster.online().run("status")
    assert result.code == 0
    assert result.out.startswith("Cluster demo  ● OK  3/3 servers")
    assert "web    ● online  n1" in result.out
    shown = json.loads(cluster.run("status", "-o", "json").out)
    assert shown["state"] == "ok"
    assert shown["coordinator"] == "n2"
    assert shown["groups"][0]["owner"] == "n1"
    assert shown["attention"] == []


def test_status_shows_the_worst_first_with_the_next_command(cluster: FakeCluster) -> None:
    cluster.online().remove(KEYS.session("n1"))
    verdict = Verdict(
        group="web", phase=Phase.BLOCKED, reasons=("BMC of n1 does not answer",),
        next_command="clusterctl fence confirm n1",
    )  # fmt: skip
    cluster.put(KEYS.verdict("web"), verdict)
    result = cluster.run("status")
    assert "✖ CRITICAL" in result.out
    attention = result.out.splitlines()[1:3]
    assert "group/web: blocked: BMC of n1 does not answer" in attention[0]
    assert attention[1].strip() == "next: clusterctl fence confirm n1"


def test_status_check_speaks_to_monitoring(cluster: FakeCluster) -> None:
    result = cluster.online().run("status", "--check")
    assert (result.code, result.out) == (0, "OK - demo: all groups and servers are well\n")
    cluster.remove(KEYS.session("n3"))
    assert cluster.run("status", "--check").code == 1
    cluster.remove(KEYS.session("n1"))
    result = cluster.run("status", "--check")
    assert result.code == 2
    assert result.out.startswith("CRITICAL - demo: group/web")


def test_status_before_the_first_apply(cluster: FakeCluster) -> None:
    result = cluster.run("status")
    assert result.code == 0
    assert "no specs were ever applied" in result.out


def test_a_failing_self_test_and_a_silent_network_are_shown(cluster: FakeCluster) -> None:
    cluster.online()
    report = ServerStatus(
        server="n2", boot_id="boot-n2", incarnation="i2",
        heartbeats={"n1": {"private": "silent", "public": "heard"}},
        fencing=(FencingTest(server="n1", level=0, ok=False, detail="/no/file", at_wall=WALL),),
    )  # fmt: skip
    cluster.put(KEYS.server_status("n2"), report)
    out = cluster.run("status").out
    assert "its fence device fails from n2" in out
    assert "does not hear n1 on private" in out
    rows = cluster.run("fence", "status").out
    assert "✖ /no/file, 0s ago" in rows


def test_describe_shows_state_spec_and_last_events(cluster: FakeCluster) -> None:
    cluster.online()
    cluster.put(KEYS.event("1"), event(1, "group_granted", group="web", server="n1", epoch=3))
    cluster.put(KEYS.event("2"), event(2, "group_online", group="other", epoch=3))
    out = cluster.run("describe", "group/web").out
    assert "group/web  ● online" in out
    assert "# the shop" in out
    assert "group_granted" in out
    assert "other" not in out
    shown = json.loads(cluster.run("describe", "group/web", "-o", "json").out)
    assert shown["events"][0]["name"] == "group_granted"
    for ref in ("cluster/demo", "server/n1", "resource/web-ip"):
        assert cluster.run("describe", ref).code == 0
    assert cluster.run("describe", "group/nope").code == 2


def test_events_are_sorted_and_filtered(cluster: FakeCluster) -> None:
    cluster.put(KEYS.event("b"), event(500, "group_online", group="web"))
    cluster.put(KEYS.event("a"), event(10, "server_challenged", server="n1"))
    cluster.put(KEYS.event("c"), b"{broken")
    lines = cluster.run("events").out.splitlines()
    assert lines[0].endswith("Z n2 ▲ server_challenged server=n1")
    assert lines[1].endswith("Z n2 group_online group=web")
    assert len(cluster.run("events", "--since", "2m").out.splitlines()) == 1
    assert "group_online" in cluster.run("events", "--group", "web").out
    assert "challenged" not in cluster.run("events", "--group", "web").out
    shown = json.loads(cluster.run("events", "-o", "json").out)
    assert [item["name"] for item in shown] == ["server_challenged", "group_online"]
    assert cluster.run("events", "--since", "soon").code == 2
    cluster.put(KEYS.event("d"), event(501, "group_parked", group="web", reason="failed 3 times"))
    lines = cluster.run("events", "--severe").out.splitlines()
    assert lines[-1].endswith('Z n2 ▲ group_parked group=web reason="failed 3 times"')
    assert not any("group_online" in line for line in lines)


def test_schema_and_explain_come_from_the_models(cluster: FakeCluster) -> None:
    assert "properties" in json.loads(cluster.run("schema", "Group").out)
    assert "resource/floating-ip" in cluster.run("schema").out
    assert "failover" in cluster.run("explain", "group.spec.failover").out
    wrong = cluster.run("explain", "group.spec.failovr")
    assert wrong.code == 2
    assert "did you mean 'failover'" in wrong.err
    assert cluster.run("schema", "Grup").code == 2
