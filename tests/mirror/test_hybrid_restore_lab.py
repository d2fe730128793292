"""A hybrid disk after an old backup of the store: the side with all data serves, and nobody has to
say which that is."""

import json
from pathlib import Path

import pytest

from tests.integration.lab_under_test import clusterctl, eventually
from tests.integration.test_restore_lab import BACKUP, events, stop_etcd, with_etcd_when
from tests.mirror.hybrid_lab import MARKS, NODES, hybrid_lab, up

pytestmark = [pytest.mark.timeout(600), *MARKS]  # the first one counts


def test_after_a_restore_the_side_with_all_data_serves_by_itself(tmp_path: Path) -> None:
    with hybrid_lab(tmp_path) as hybrid:
        lab = hybrid.lab
        up(hybrid, tmp_path / "hybrid.yaml")
        lab.output("n1", "clusterctl", "backup", "save", BACKUP, "--with-secrets")
        # The backup says that n1 serves, and that both sides have everything.
        clusterctl("move", "group/db", "--to", "n3")
        hybrid.runs_on("db", "n3")
        hybrid.runs_on("db-standby", "n1", "n2")
        hybrid.in_sync("n3")
        clusterctl("stop", "group/db-standby")
        hybrid.counted(hybrid.count("n3"))

        for name in NODES:
            stop_etcd(lab, name)
        with_etcd_when(
            lab,
            "n1",
            ["clusterctl", "backup", "restore", BACKUP],
            "test -e /var/lib/clusterctl/restore.json",
        )
        for name in NODES:
            eventually(lambda name=name: "store_doubted" in events(lab, name), f"{name} doubts")  # type: ignore[misc]
        lab.output("n1", "clusterctl", "store", "restored", "--yes-i-mean", "demo", "-o", "json")
        hybrid.runs_on("db", "n3", "n4")
        owner = str(hybrid.group("db")["owner"])
        hybrid.has_everything(owner)
        told = clusterctl("events", "--name", "mirror_settled", "-o", "json", check=False).stdout
        assert "right" in told, told
        hybrid.runs_on("db-standby", "n1", "n2")
        hybrid.in_sync(owner)
        mirror = json.loads(clusterctl("mirror", "status", "data", "-o", "json").stdout)
        assert mirror["state"] == "in-sync"
        assert "how='full'" not in hybrid.log(owner)
