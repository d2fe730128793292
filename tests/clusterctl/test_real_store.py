"""The installed program against three real etcd members with mutual TLS, one of which freezes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.etcd import TlsFiles
from tests.clusterctl.conftest import SPECS
from tests.integration.etcd_cluster import EtcdCluster, find_program

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_program("etcd") is None, reason="etcd is not installed"),
]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster.start(tmp_path / "etcd")
    try:
        asyncio.run(cluster.ready())
        cluster.etcdctl("user", "add", "root", "--no-password")
        cluster.etcdctl("user", "grant-role", "root", "root")
        cluster.etcdctl("auth", "enable")
        yield cluster
    finally:
        cluster.stop()


def context(directory: Path, etcd: EtcdCluster, tls: TlsFiles) -> Path:
    path = directory / "context.yaml"
    path.write_text(
        json.dumps(
            {
                "cluster": "demo",
                "endpoints": etcd.endpoints,
                "ca": str(tls.ca),
                "cert": str(tls.cert),
                "key": str(tls.key),
            }
        )
    )
    return path


def clusterctl(path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clusterctl.app", "--context", str(path), *args],
        env={k: v for k, v in os.environ.items() if not k.startswith("CLUSTERCTL_")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_apply_see_and_lose_quorum(tmp_path: Path, etcd: EtcdCluster) -> None:
    path = context(tmp_path, etcd, etcd.admin)
    specs = tmp_path / "specs.yaml"
    specs.write_text("\n".join(line for line in SPECS.splitlines() if "fencing" not in line) + "\n")

    assert clusterctl(path, "apply", "-f", str(specs)).stdout.endswith("r1\n")
    assert clusterctl(path, "diff", "-f", str(specs)).returncode == 0

    etcd.members[0].freeze()
    groups = clusterctl(path, "get", "groups", "-o", "json")
    assert groups.returncode == 0, groups.stderr
    assert json.loads(groups.stdout)[0]["metadata"]["name"] == "web"
    status = clusterctl(path, "status", "-o", "json")
    assert status.returncode == 0, status.stderr
    reachable = [member["reachable"] for member in json.loads(status.stdout)["store"]["members"]]
    assert sorted(reachable) == [False, True, True]

    etcd.members[1].freeze()
    lost = clusterctl(path, "--timeout", "2s", "get", "groups")
    assert lost.returncode == 3
    assert "Traceback" not in lost.stderr
    assert "next: " in lost.stderr
    assert clusterctl(path, "--timeout", "2s", "status", "--check").returncode == 3


def test_a_certificate_without_rights_is_not_permitted(tmp_path: Path, etcd: EtcdCluster) -> None:
    nobody = context(tmp_path, etcd, etcd.authority.issue("nobody"))
    refused = clusterctl(nobody, "status")
    assert refused.returncode == 8, refused.stderr
    assert "does not permit" in refused.stderr
