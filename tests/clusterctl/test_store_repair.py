"""A store whose space is used up, with real members of a small quota: said, and put right."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.ports.store import Put, StoreError, Transaction
from tests.clusterctl.conftest import SPECS
from tests.clusterctl.test_real_store import clusterctl, context
from tests.integration.etcd_cluster import EtcdCluster, find_program

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_program("etcd") is None, reason="etcd is not installed"),
]

QUOTA = 12 * 1024**2
KEY = "/clusterctl/demo/events/full"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[EtcdCluster]:
    quota = (f"--quota-backend-bytes={QUOTA}", "--max-request-bytes=2000000")
    cluster = EtcdCluster.start(tmp_path / "etcd", 3, *quota)
    try:
        asyncio.run(cluster.ready())
        cluster.etcdctl("user", "add", "root", "--no-password")
        cluster.etcdctl("user", "grant-role", "root", "root")
        cluster.etcdctl("auth", "enable")
        yield cluster
    finally:
        cluster.stop()


async def write(cluster: EtcdCluster, times: int) -> bool:
    """The same key again and again: all but the last of it is history. False when refused."""
    store = cluster.store()
    try:
        for number in range(times):
            value = bytes([number % 256]) * 1_000_000
            await store.commit(Transaction((), (Put(KEY, value),)), timeout_s=5.0)
    except StoreError as error:
        return "space exceeded" not in str(error)
    finally:
        await store.close()
    return True


def test_a_full_store_is_named_with_the_command_that_empties_it(
    tmp_path: Path, small: EtcdCluster
) -> None:
    path = context(tmp_path, small, small.admin)
    specs = tmp_path / "specs.yaml"
    specs.write_text("\n".join(line for line in SPECS.splitlines() if "fencing" not in line) + "\n")
    assert clusterctl(path, "apply", "-f", str(specs)).returncode == 0
    idle = clusterctl(path, "store", "repair")
    assert (idle.returncode, "takes writes already" in idle.stdout) == (0, True)

    assert not asyncio.run(write(small, 3 * QUOTA // 1_000_000))
    refused = clusterctl(path, "apply", "-f", str(specs), "--message", "again")
    assert refused.returncode == 0, "an apply that changes nothing writes nothing"
    checks = json.loads(clusterctl(path, "doctor", "-o", "json").stdout)
    found = [(c["result"], c["next"]) for c in checks if c["id"] == "store-writes"]
    assert found == [("FAIL", "clusterctl store repair")]
    assert "next: clusterctl store repair" in clusterctl(path, "status").stdout

    repaired = clusterctl(path, "store", "repair", "-o", "json")
    assert repaired.returncode == 0, repaired.stderr
    sizes = json.loads(repaired.stdout)["members"]
    assert [one["server"] for one in sizes] == ["m1", "m2", "m3"]
    assert all(one["bytes"] < QUOTA / 2 < one["bytesBefore"] for one in sizes)
    checks = json.loads(clusterctl(path, "doctor", "-o", "json").stdout)
    assert [c["result"] for c in checks if c["id"] == "store-writes"] == ["PASS"]
    assert asyncio.run(write(small, 3))
    assert clusterctl(path, "get", "servers").returncode == 0


@pytest.mark.long
def test_a_member_that_is_away_is_named_and_a_stranger_is_refused(
    tmp_path: Path, small: EtcdCluster
) -> None:
    small.members[2].kill()
    asyncio.run(small.ready())
    path = context(tmp_path, small, small.admin)
    away = clusterctl(path, "store", "repair", "--anyway")
    assert away.returncode != 0
    assert "m3 does not answer, and all members must" in away.stderr
    small.members[2].start()
    asyncio.run(small.ready())
    small.etcdctl("role", "add", "reader")
    small.etcdctl("role", "grant-permission", "reader", "read", "--prefix=true", "/clusterctl/")
    small.etcdctl("user", "add", "eve", "--no-password")
    small.etcdctl("user", "grant-role", "eve", "reader")
    eve = context(tmp_path, small, small.authority.issue("eve", "eve"))
    refused = clusterctl(eve, "store", "repair", "--anyway")
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr.lower()
