"""Install a cluster on bare servers with the commands of a person, and pull the plug meanwhile."""

import asyncio
import json
import subprocess
from collections.abc import Iterator

import pytest

from clusterctl.lab import inside
from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.etcd import EtcdStore, TlsFiles
from reconciler.decide.keys import Keys
from reconciler.ports.store import Denied, Put, Transaction
from tests.integration.lab_under_test import LabUnderTest, eventually, needs_lab

pytestmark = needs_lab

KEYS = Keys("demo")


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    made = LabUnderTest.start(tmp_path_factory.mktemp("bare") / "d", "--servers", "2", "--bare")
    try:
        yield made
    finally:
        made.down()


def _start(lab: LabUnderTest, server: str, *words: str) -> "subprocess.Popen[str]":
    return inside.start_on(lab.plan, lab.plan.node(server), ["clusterctl", "cluster", *words])


def _addresses(lab: LabUnderTest, server: str) -> list[str]:
    found = lab.plan.node(server).addresses
    return ["--address", found["private"], "--address", found["public"]]


def _file(lab: LabUnderTest, server: str, name: str) -> bool:
    return (lab.directory / "servers" / server / "clusterctl" / name).exists()


def _interrupt(lab: LabUnderTest, server: str, process: "subprocess.Popen[str]", at: str) -> None:
    """Kill the command as soon as a file of its work is there."""
    with process:
        eventually(lambda: _file(lab, server, at) or process.poll() is not None, at)
        process.kill()
        process.communicate()


def _finish(process: "subprocess.Popen[str]", text: str = "") -> tuple[int, str, str]:
    with process:
        output, errors = process.communicate(text, timeout=120)
    return process.returncode, output, errors


@pytest.mark.timeout(300)
def test_init_and_join_killed_half_way_are_repeated_with_the_same_command(
    bare: LabUnderTest,
) -> None:
    init = [
        *("init", "demo", "--server", "n1", *_addresses(bare, "n1"), "-o", "json"),
        *("--private", bare.plan.cidr("private"), "--public", bare.plan.cidr("public")),
    ]
    _interrupt(bare, "n1", _start(bare, "n1", *init), "etcd.yaml")
    code, _, error = _finish(_start(bare, "n1", *init))
    assert code == 0, error
    code, _, error = _finish(_start(bare, "n1", *init))  # and once more: nothing to do
    assert code == 0, error

    wrong = ["join", "-", "--server", "n2", *_addresses(bare, "n2"), "-o", "json"]
    code, _, error = _finish(_start(bare, "n2", *wrong), "cctl1.damaged")
    assert (code, "next" in error or "clusterctl cluster token" in error) == (6, True)

    code, output, error = _finish(_start(bare, "n1", "token", "-o", "json"))
    assert code == 0, error
    token = json.loads(output)["token"]
    process = _start(bare, "n2", *wrong)
    assert process.stdin is not None
    process.stdin.write(token)
    process.stdin.close()
    process.stdin = None
    _interrupt(bare, "n2", process, "pki/server.crt")
    code, _, error = _finish(_start(bare, "n2", *wrong), token)
    assert code == 0, error
    code, output, error = _finish(_start(bare, "n1", "refresh", "-o", "json"))
    assert code == 0, error
    assert len(json.loads(output)["endpoints"]) == 2
    asyncio.run(_hold_roles(bare))


async def _hold_roles(lab: LabUnderTest) -> None:
    """What the certificates of n2 may and may not do in the store."""
    pki = lab.directory / "servers" / "n2" / "clusterctl" / "pki"
    endpoint = f"https://{lab.plan.node('n1').addresses['private']}:2379"

    async def put(user: str, key: str) -> None:
        files = TlsFiles(pki / "ca.crt", pki / f"{user}.crt", pki / f"{user}.key")
        store = EtcdStore.connect([endpoint], files, MonotonicClock())
        try:
            await store.commit(Transaction((), (Put(key, b"x"),)))
        finally:
            await store.close()

    await put("agent", KEYS.server_status("n2"))
    await put("agent", KEYS.group("web"))
    for forbidden in (KEYS.head, KEYS.token("t"), KEYS.server_status("n1"), "/elsewhere"):
        with pytest.raises(Denied):
            await put("agent", forbidden)
    await put("admin", KEYS.token("t"))


def test_a_server_certificate_opens_the_store_for_nobody(lab: LabUnderTest) -> None:
    """etcd's own certificate is no user, so whoever steals it reads nothing."""
    code, out, error = lab.run(
        "n2",
        *("etcdctl", "--endpoints", f"https://{lab.plan.node('n2').addresses['private']}:2379"),
        *("--cacert", "/etc/clusterctl/pki/ca.crt", "--cert", "/etc/clusterctl/pki/server.crt"),
        *("--key", "/etc/clusterctl/pki/server.key", "get", "--prefix", "/clusterctl/"),
    )
    assert code != 0
    assert out == ""
    assert "permission denied" in error or "user" in error
