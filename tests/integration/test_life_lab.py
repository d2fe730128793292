"""The life of an installed cluster in a real lab: expired certificates, another heartbeat key, an
orderly shutdown; the service runs on, and nobody is fenced for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab

pytestmark = [*needs_lab, pytest.mark.long]

NAMES = ("n1", "n2", "n3")
WEB = "ThreadingHTTP[S]erver"  # which does not find the search itself
PKI = "/etc/clusterctl/pki"
ENDED = """
from datetime import timedelta
from clusterctl.bootstrap import certificates, renewal
from clusterctl.bootstrap.layout import Layout
certificates.CERTIFICATE_DAYS, certificates.BACKDATED = -3, timedelta(days=10)
renewal.renew_here(Layout(), "n1")
"""


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with LabUnderTest.running(tmp_path_factory.mktemp("life") / "d", "--servers", "3") as made:
        yield made


def pids(lab: LabUnderTest, server: str) -> str:
    """Process ids of the service on a server."""
    return lab.run(server, "sh", "-c", f"grep -la '{WEB}' /proc/[0-9]*/cmdline 2>/dev/null")[1]


def events(lab: LabUnderTest, *servers: str) -> list[str]:
    found = []
    for server in servers or NAMES:
        path: Path = lab.directory / "servers" / server / "state/events.jsonl"
        found += [json.loads(line)["name"] for line in path.read_text().splitlines()]
    return found


@pytest.mark.timeout(600)
def test_a_cluster_grows_older(three: LabUnderTest) -> None:
    lab = three
    clusterctl("apply", "examples/01-web")
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    expired_certificates(lab)
    another_heartbeat_key(lab)
    orderly_shutdown(lab)


def expired_certificates(lab: LabUnderTest) -> None:
    """All of n1 end; it is told, the service runs on, and one command brings everything back."""
    service = pids(lab, "n1")
    assert service
    lab.output("n1", "python3", "-c", ENDED)
    lab.output("n1", "sh", "-c", "kill $(pidof etcd)")  # what runs keeps its connections
    code, out, error = lab.run("n1", "clusterctl", "cert", "status")
    assert code == 1, error
    assert "expired" in out
    assert "expired on n1" in error
    assert "clusterctl cert renew" in error
    # another server can not ask n1, and is told why
    code, _, error = lab.run("n2", "clusterctl", "cert", "renew")
    assert code == 6
    assert "certificate" in error
    lab.output("n1", "clusterctl", "cert", "renew")
    assert lab.run("n1", "clusterctl", "cert", "status")[0] == 0

    def renewed() -> bool:
        return lab.run("n2", "clusterctl", "cert", "renew")[0] == 0

    eventually(renewed, "n1 signs for n2", 60.0)
    eventually(lambda: clusterctl("status", "--check", check=False).returncode == 0, "all is well")
    assert pids(lab, "n1") == service


def another_heartbeat_key(lab: LabUnderTest) -> None:
    """Both rounds; nobody is suspected meanwhile."""
    before = lab.output("n1", "cat", "/etc/clusterctl/cluster.key")
    suspected = events(lab).count("server_suspected")

    def step() -> bool:
        return lab.run("n1", "clusterctl", "cluster", "rotate-key")[0] == 0

    eventually(step, "the first step", 60.0)
    code, _, error = lab.run("n1", "clusterctl", "cluster", "rotate-key")
    assert code == 6, error
    assert "clusterctl cluster refresh" in error
    for _ in range(2):
        wanted = json.loads(lab.output("n1", "cat", "/etc/clusterctl/cluster.key"))
        for name in ("n2", "n3"):

            def fetched(name: str = name, keys: object = wanted) -> bool:
                lab.run(name, "clusterctl", "cluster", "refresh")
                return keys == json.loads(lab.output(name, "cat", "/etc/clusterctl/cluster.key"))

            eventually(fetched, f"{name} has the keys of n1", 60.0)
        if len(wanted["keys"]) == 2:
            eventually(step, "the second step", 120.0)
    assert len(wanted["keys"]) == 1
    assert wanted != json.loads(before)
    assert events(lab).count("server_suspected") == suspected
    for name in NAMES:  # no key has come to light
        log = (lab.directory / "servers" / name / "state/events.jsonl").read_text()
        assert wanted["keys"][0] not in log


def orderly_shutdown(lab: LabUnderTest) -> None:
    """What the unit for shutdowns does, then the power goes: moved, not fenced."""
    fences = events(lab).count("fence_requested")
    lab.output("n1", "clusterctl", "drain", "--this-server", "--for-shutdown", "--timeout", "60s")
    assert pids(lab, "n1") == ""
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    lab.output(
        "n1",
        "sh",
        "-c",
        "mkdir -p /etc/clusterctl/disabled; touch /etc/clusterctl/disabled/agent",
    )
    agent = lab.output(
        "n1", "sh", "-c", "grep -l reconciler.age[n]t /proc/[0-9]*/cmdline | cut -d/ -f3"
    )
    for pid in agent.split():
        lab.run("n1", "kill", pid)
    eventually(lambda: events(lab, "n1")[-1] == "agent_stopped", "the agent has ended")
    lab.lab("power", "n1", "off")
    eventually(
        lambda: any(pids(lab, name) for name in ("n2", "n3")), "the service runs on another server"
    )
    (lab.directory / "servers/n1/clusterctl/disabled/agent").unlink()
    lab.lab("power", "n1", "on")
    eventually(
        lambda: clusterctl("status", "--check", check=False).returncode == 0, "n1 is back", 90.0
    )
    assert events(lab, "n2", "n3").count("fence_requested") == fences
    clusterctl("move", "group/web", "--to", "n1")  # it takes groups again
