"""An old backup in a real lab: save, change the owner, lose the store, restore; nothing runs twice.

What runs is asked from the servers' process tables, never from the store.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from clusterctl.lab import inside
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab

pytestmark = [*needs_lab, pytest.mark.long]

NAMES = ("n1", "n2", "n3")
BACKUP = "/var/lib/clusterctl/before.backup"
WEB = "ThreadingHTTP[S]erver"  # which does not find the search itself


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with LabUnderTest.running(tmp_path_factory.mktemp("restore") / "d", "--servers", "3") as made:
        yield made


def running(lab: LabUnderTest) -> list[str]:
    """Servers whose process table holds the service."""
    script = f"grep -la '{WEB}' /proc/[0-9]*/cmdline 2>/dev/null"
    return [name for name in NAMES if lab.run(name, "sh", "-c", script)[1]]


def events(lab: LabUnderTest, server: str) -> list[str]:
    path = lab.directory / "servers" / server / "state/events.jsonl"
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def stop_etcd(lab: LabUnderTest, server: str) -> None:
    disable = "mkdir -p /etc/clusterctl/disabled; touch /etc/clusterctl/disabled/etcd"
    lab.output(server, "sh", "-c", f"{disable}; kill $(pidof etcd)")
    eventually(lambda: lab.run(server, "pidof", "etcd")[0] != 0, f"etcd of {server} has ended")


def with_etcd_when(
    lab: LabUnderTest, server: str, argv: list[str], ready: str, text: str = ""
) -> str:
    """Run a command that waits for etcd; a supervisor starts it once `ready` holds in a shell."""
    process: subprocess.Popen[str] = inside.start_on(lab.plan, lab.plan.node(server), argv)
    with process:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        eventually(
            lambda: process.poll() is not None or lab.run(server, "sh", "-c", ready)[0] == 0,
            f"{argv}: {ready}",
        )
        lab.output(server, "rm", "/etc/clusterctl/disabled/etcd")
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out


def address(lab: LabUnderTest, server: str) -> list[str]:
    found = lab.plan.node(server).addresses
    return ["--address", found["private"], "--address", found["public"]]


@pytest.mark.timeout(420)
def test_an_old_backup_starts_nothing_twice(
    three: LabUnderTest,
) -> None:
    lab = three
    clusterctl("apply", "examples/01-web")
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    lab.output("n1", "clusterctl", "backup", "save", BACKUP, "--with-secrets")
    assert lab.output("n1", "stat", "-c", "%a", BACKUP) == "600\n"
    clusterctl("move", "group/web", "--to", "n2")
    assert running(lab) == ["n2"]
    code, _, error = lab.run("n1", "clusterctl", "backup", "restore", BACKUP)
    assert (code, "clusterctl rollback" in error) == (6, True), error

    for name in NAMES:
        stop_etcd(lab, name)
    with_etcd_when(
        lab,
        "n1",
        ["clusterctl", "backup", "restore", BACKUP],
        "test -e /var/lib/clusterctl/restore.json",
    )
    # the backup names n1, which gave the group up; n2 runs it; n3 knows neither: all of them wait
    for name in NAMES:
        eventually(lambda name=name: "store_doubted" in events(lab, name), f"{name} doubts")  # type: ignore[misc]
    assert running(lab) == ["n2"]
    code, _, error = lab.run("n1", "clusterctl", "store", "restored")
    assert (code, "--yes-i-mean demo" in error) == (5, True), error
    done = lab.output("n1", "clusterctl", "store", "restored", "--yes-i-mean", "demo", "-o", "json")
    assert json.loads(done) == {"generation": 1, "inDoubt": []}
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    assert running(lab) == ["n1"]
    stopped = [line for line in events(lab, "n2") if line == "group_stopped"]
    assert stopped, "n2 stopped what it ran"
    code, _, error = lab.run("n1", "clusterctl", "store", "restored", "--yes-i-mean", "demo")
    assert (code, "was not restored" in error) == (5, True), error

    for name in ("n2", "n3"):
        token = lab.output("n1", "clusterctl", "cluster", "token")
        join = ["clusterctl", "cluster", "join", "-", "--discard-store", "--server", name]
        with_etcd_when(
            lab,
            name,
            [*join, *address(lab, name)],
            "test ! -e /var/lib/clusterctl/etcd/member && test -e /etc/clusterctl/etcd.yaml",
            token,
        )
    clusterctl("move", "group/web", "--to", "n3")
    assert running(lab) == ["n3"]
