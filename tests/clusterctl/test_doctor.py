"""doctor: each check can fail, says why and what to type; scripts get JSON and an exit code."""

import json
from typing import Any

import pytest

from reconciler.decide.records import FencingTest, ServerFacts, ServerStatus, Session
from reconciler.ports.store import MemberHealth
from tests.clusterctl.conftest import KEYS, SPECS, WALL, FakeCluster

SERVERS = ("n1", "n2", "n3")


def facts(server: str, **changed: Any) -> ServerFacts:
    healthy: dict[str, Any] = {
        "server": server,
        "boot_id": f"boot-{server}",
        "at_wall": WALL,
        "fsync_ms": 2.0,
        "store_ms": 3.0,
        "boot_s": 20.0,
        "interfaces": {"private": "eth0", "public": "eth1"},
        "clock_offsets": {s: 0.01 for s in SERVERS if s != server},
        "realtime": True,
    }
    return ServerFacts(**{**healthy, **changed})


def status(server: str, **changed: Any) -> ServerStatus:
    tests = tuple(
        FencingTest(server=s, level=1, ok=True, detail="on", at_wall=WALL - 60)
        for s in SERVERS
        if s != server
    )
    healthy: dict[str, Any] = {
        "server": server,
        "boot_id": f"boot-{server}",
        "incarnation": "i",
        "revision": 1,
        "heartbeats": {s: {"private": "heard", "public": "heard"} for s in SERVERS if s != server},
        "fencing": tests,
    }
    return ServerStatus(**{**healthy, **changed})


@pytest.fixture
def healthy(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    cluster.online()
    for server in SERVERS:
        cluster.put(KEYS.server_status(server), status(server))
        cluster.put(KEYS.server_facts(server), facts(server))
    members(monkeypatch, away=())
    return cluster


def members(
    monkeypatch: pytest.MonkeyPatch,
    away: tuple[str, ...],
    names: tuple[str, ...] = SERVERS,
    alarm: str = "",
) -> None:
    async def answer(_self: object) -> tuple[MemberHealth, ...]:
        return tuple(
            MemberHealth(
                name,
                f"https://{name}",
                name not in away,
                is_leader=False,
                answered_at=0.0,
                alarm=alarm,
            )
            for name in names
        )

    monkeypatch.setattr("reconciler.adapters.memory.MemoryStore.members", answer)


def found(cluster: FakeCluster, check: str, subject: str) -> dict[str, str]:
    result = cluster.run("doctor", "-o", "json")
    checks = [c for c in json.loads(result.out) if (c["id"], c["subject"]) == (check, subject)]
    assert len(checks) == 1, result.out
    assert result.code == (1 if "FAIL" in result.out else 0)
    return dict(checks[0])


def test_a_store_that_takes_no_writes_is_not_green(
    healthy: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(healthy, "store-writes", "cluster")["result"] == "PASS"
    members(monkeypatch, away=(), alarm="its space is used up, so the store takes no writes")
    assert found(healthy, "store-writes", "cluster")["result"] == "FAIL"
    screen = healthy.run("status").out
    assert "CRITICAL" in screen
    assert "store: its space is used up, so the store takes no writes" in screen
    assert healthy.run("status", "--check").code == 2


def test_a_healthy_cluster_is_ready(healthy: FakeCluster) -> None:
    result = healthy.run("doctor")
    assert result.code == 0, result.out + result.err
    assert result.out.startswith("0 failed, 0 warnings, ")
    assert "ready for a failover" in result.out
    assert "dead" in healthy.run("doctor", "--all").out  # the sums are worked out


def test_lost_majority_of_the_store(healthy: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    members(monkeypatch, away=("n3",))
    one = found(healthy, "quorum", "cluster")
    assert one["result"] == "WARN"
    assert "n3" in one["reason"]
    members(monkeypatch, away=("n2", "n3"))
    assert found(healthy, "quorum", "cluster")["result"] == "FAIL"


def test_two_members_need_a_witness(healthy: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    members(monkeypatch, away=(), names=("n1", "n2"))
    check = found(healthy, "witness", "cluster")
    assert (check["result"], check["next"]) == ("FAIL", "clusterctl cluster token")


def test_a_stopped_agent_and_old_specs(healthy: FakeCluster) -> None:
    healthy.remove(KEYS.session("n3"))
    healthy.put(KEYS.server_status("n2"), status("n2", revision=0))
    assert found(healthy, "agent", "n3")["result"] == "FAIL"
    assert found(healthy, "agent", "n2")["result"] == "WARN"


def test_a_fence_device_that_fails_was_never_tested_or_long_ago(healthy: FakeCluster) -> None:
    def test_of_n1(**changed: Any) -> None:
        test = FencingTest(**{"server": "n1", "level": 1, "ok": True, "detail": "on", **changed})
        for server in ("n2", "n3"):
            healthy.put(KEYS.server_status(server), status(server, fencing=(test,)))

    test_of_n1(ok=False, detail="login refused", at_wall=WALL)
    broken = found(healthy, "fencing", "n1")
    assert broken["result"] == "FAIL"
    assert "login refused" in broken["reason"]
    assert broken["next"] == "clusterctl fence test n1"
    test_of_n1(at_wall=WALL - 3600)
    assert found(healthy, "fencing", "n1")["result"] == "WARN"
    for server in ("n2", "n3"):
        healthy.put(KEYS.server_status(server), status(server, fencing=()))
    assert found(healthy, "fencing", "n1")["result"] == "WARN"


@pytest.mark.parametrize(
    ("check", "changed", "result"),
    [
        ("fsync", {"fsync_ms": 80.0}, "WARN"),
        ("fsync", {"fsync_ms": 900.0}, "FAIL"),
        ("round-trip", {"store_ms": 50.0}, "WARN"),
        ("round-trip", {"store_ms": 90.0}, "FAIL"),
        ("interfaces", {"interfaces": {"private": "eth0", "public": "eth0"}}, "WARN"),
        ("interfaces", {"interfaces": {"private": "eth0", "public": ""}}, "FAIL"),
        ("clock", {"clock_offsets": {"n1": 4.0}}, "WARN"),
        ("clock", {"clock_offsets": {"n1": -60.0}}, "FAIL"),
        ("real-time", {"realtime": False}, "WARN"),
        ("boot-time", {"boot_s": 3.0}, "PASS"),
    ],
)
def test_what_a_server_measured(
    healthy: FakeCluster, check: str, changed: dict[str, Any], result: str
) -> None:
    healthy.put(KEYS.server_facts("n2"), facts("n2", **changed))
    assert found(healthy, check, "n2")["result"] == result


def test_facts_of_an_earlier_boot_do_not_count(healthy: FakeCluster) -> None:
    healthy.put(KEYS.server_facts("n2"), facts("n2", boot_id="before"))
    assert found(healthy, "timing-measured", "n2")["result"] == "WARN"


def test_a_cut_heartbeat_path(healthy: FakeCluster) -> None:
    heard = {"n1": {"private": "silent", "public": "heard"}}
    healthy.put(KEYS.server_status("n2"), status("n2", heartbeats=heard))
    check = found(healthy, "ports", "n2")
    assert check["result"] == "FAIL"
    assert "n1 on private" in check["reason"]


def test_certificates_that_end(healthy: FakeCluster) -> None:
    for days, result in ((400, "PASS"), (12, "WARN"), (-1, "FAIL")):
        ends = {"ca": WALL + 4000 * 86400, "agent": WALL + days * 86400}
        healthy.put(KEYS.server_facts("n2"), facts("n2", certificates=ends))
        check = found(healthy, "certificates", "n2")
        assert check["result"] == result
        assert "certificate agent" in check["reason"]
        assert check["next"] == ("" if result == "PASS" else "clusterctl cert renew")


def test_a_watchdog_that_specs_name_must_be_armed(healthy: FakeCluster) -> None:
    fencing = "  fencing: {levels: [{type: test-pdu, outlet: 1}]}\n"
    specs = SPECS.replace(fencing, fencing + "  watchdog: {timeout: 1s}\n")
    assert specs != SPECS
    assert healthy.run("apply", "-f", healthy.file("specs.yaml", specs)).code == 0
    check = found(healthy, "watchdog", "n1")
    assert check["result"] == "FAIL"
    assert "/dev/watchdog is not armed" in check["reason"]
    session = Session(server="n1", boot_id="boot-n1", incarnation="i1", lease=1, watchdog_s=1.0)
    healthy.put(KEYS.session("n1"), session)
    assert found(healthy, "watchdog", "n1")["result"] == "PASS"
