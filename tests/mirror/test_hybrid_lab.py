"""A hybrid disk on a real lab: four servers in two server groups, each with a file that its servers
share. Crashes within a server group, and of a whole one; a counter that is told when it is on disk.

The lab's servers share one kernel and its page cache, so this says nothing of reservations or of
fsync across a power loss; the engine's lock on a file is seen by all of them, as a reservation is.
"""

import contextlib
import json
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clusterctl.lab import inside
from clusterctl.lab.plan import LabError
from reconciler.mirror.settings import SHARED_METADATA
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab
from tests.mirror.pair import usable

pytestmark = [
    pytest.mark.timeout(900),  # the first one counts
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]

SIZE = 32 << 20
SPECS = """
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {name: left}
spec: {servers: [n1, n2]}
---
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {name: right}
spec: {servers: [n3, n4]}
---
apiVersion: clusterctl/v1
kind: Group
metadata: {name: db}
spec: {serverGroups: [left, right]}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: db
  type: hybrid-disk
  sides:
    - {serverGroup: left, file: /srv/left.img}
    - {serverGroup: right, file: /srv/right.img}
  reservation: none
  size: 32MiB
  mountPoint: /var/lib/db
  formatConsent: first-build
  startTimeout: 60s
  stopTimeout: 60s
"""
# Goes on from the number that it is given; tells each one after it is on disk.
COUNTER = """
import os, struct, sys
fd = os.open("/var/lib/db/counter", os.O_CREAT | os.O_RDWR)
n = int(sys.argv[1])
while True:
    n += 1
    os.pwrite(fd, struct.pack("<Q", n), 8 * (n % 4096))
    os.fsync(fd)
    os.pwrite(1, b"%020d" % n, 0)
"""
READ = 'print(open("/var/lib/db/counter", "rb").read().hex())'
NODES = ("n1", "n2", "n3", "n4")
WAIT_S = 150.0


@dataclass
class HybridLab:
    lab: LabUnderTest
    told: Path
    acknowledged: int = 0
    seen: list[str] = field(default_factory=list)

    def group(self, name: str) -> dict[str, Any]:
        done = clusterctl("get", f"group/{name}", "-o", "json", check=False)
        if done.returncode:
            return {}
        found: dict[str, Any] = json.loads(done.stdout)[0]["status"]
        return found

    def runs_on(self, name: str, *servers: str) -> None:
        def there() -> bool:
            status = self.group(name)
            return status.get("phase") == "online" and status.get("owner") in servers

        eventually(there, f"{name} is online on {' or '.join(servers)}", WAIT_S)

    def in_sync(self, server: str) -> None:
        eventually(lambda: self._stage(server) == "both", f"{server} and its peer", WAIT_S)

    def _stage(self, server: str) -> str:
        """Of the engine that serves there, by its own log: the last thing that it told."""
        stage = ""
        for line in self.log(server).splitlines():
            word = line.split(" ")[1] if " " in line else ""
            told = {"mirror_in_sync": "both", "mirror_alone": "alone", "mirror_stopped": "over"}
            stage = told.get(word, "lost" if word == "mirror_peer_lost" else stage)
        return stage

    def log(self, server: str) -> str:
        try:
            _, text, _ = self.lab.run(server, "cat", "/run/clusterctl/mirrors/data/engine.log")
        except LabError as error:
            return str(error)
        return text

    def engines(self) -> set[str]:
        """Servers where an engine of the mirror runs."""
        found = set()
        for node in NODES:
            with contextlib.suppress(LabError):
                code, text, _ = self.lab.run(node, "sh", "-c", "cat /proc/[0-9]*/cmdline")
                if code in (0, 1) and "reconciler.mirror\0" in text:
                    found.add(node)
        return found

    def end_engine(self, server: str) -> None:
        """kill -9, and wait until another one runs."""
        find = "grep -al reconciler.mirror /proc/[0-9]*/cmdline | cut -d/ -f3 | sort -n"
        _, old, _ = self.lab.run(server, "sh", "-c", find)
        pids = [pid for pid in old.split() if self._is_engine(server, pid)]
        assert len(pids) == 1, old
        self.lab.run(server, "kill", "-9", pids[0])

        def another() -> bool:
            _, now, _ = self.lab.run(server, "sh", "-c", find)
            return any(self._is_engine(server, pid) for pid in now.split() if pid != pids[0])

        eventually(another, f"a new engine on {server}", WAIT_S)

    def _is_engine(self, server: str, pid: str) -> bool:
        _, text, _ = self.lab.run(server, "cat", f"/proc/{pid}/cmdline")
        return "-m\0reconciler.mirror\0" in text

    def is_mounted(self, server: str) -> bool:
        _, mounts, _ = self.lab.run(server, "cat", "/proc/mounts")
        return " /var/lib/db " in mounts

    def count(self, server: str) -> "subprocess.Popen[bytes]":
        program = ["python3", "-S", "-c", COUNTER, str(self.acknowledged)]
        argv = inside.argv_on(self.lab.plan, self.lab.plan.node(server), program)
        self.told.write_bytes(b"")
        with self.told.open("wb") as output:
            counter = subprocess.Popen(argv, stdout=output, stderr=subprocess.DEVNULL)
        before = self.acknowledged
        eventually(lambda: int(self.told.read_bytes() or b"0") > before + 30, "rows", WAIT_S)
        return counter

    def counted(self, counter: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(ProcessLookupError):
            counter.kill()
        counter.wait(30)
        self.acknowledged = max(self.acknowledged, int(self.told.read_bytes() or b"0"))

    def has_everything(self, server: str) -> None:
        code, text, errors = self.lab.run(server, "python3", "-S", "-c", READ)
        assert code == 0, errors
        data = bytes.fromhex(text.strip())
        rows = [number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])]
        assert max(rows) >= self.acknowledged
        whole = range(max(1, self.acknowledged - 4000), self.acknowledged + 1)
        assert set(whole) <= set(rows), "a row that was told is missing"


@pytest.fixture
def hybrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HybridLab]:
    directory = tmp_path / "lab"
    monkeypatch.setenv("CLUSTERCTL_CONTEXT", str(directory / "context.yaml"))
    monkeypatch.setenv("CLUSTERCTL_LAB", str(directory))
    lab = LabUnderTest(directory)
    try:
        clusterctl("lab", "up", "--dir", str(directory), "--detach", "--servers", "4")
        for name in ("left", "right"):
            with (directory / "shared" / f"{name}.img").open("wb") as opened:
                opened.truncate(SHARED_METADATA + SIZE)
        found = HybridLab(lab, tmp_path / "told")
        yield found
    finally:
        for node in NODES:  # shown when the test fails
            print(node, HybridLab(lab, tmp_path).log(node))
        print(clusterctl("events", check=False).stdout)
        print(clusterctl("status", check=False).stdout)
        lab.down()


def up(hybrid: HybridLab, specs: Path) -> None:
    specs.write_text(SPECS)
    clusterctl("apply", "-f", str(specs))
    hybrid.runs_on("db", "n1")
    hybrid.runs_on("db-standby", "n3")
    hybrid.in_sync("n1")
    assert hybrid.engines() == {"n1", "n3"}


def test_failover_within_a_server_group_and_between_them_loses_no_acknowledged_row(
    hybrid: HybridLab, tmp_path: Path
) -> None:
    up(hybrid, tmp_path / "hybrid.yaml")
    following = hybrid.group("db-standby")["epoch"]

    # The owner dies: the other server of its group serves the same disk, the mirror goes on.
    counter = hybrid.count("n1")
    hybrid.lab.lab("power", "n1", "off")
    hybrid.counted(counter)
    hybrid.runs_on("db", "n2")
    hybrid.has_everything("n2")
    assert hybrid.group("db-standby")["epoch"] == following
    assert hybrid.group("db-standby")["owner"] == "n3"
    hybrid.in_sync("n2")
    assert "how='difference'" in hybrid.log("n2")
    assert "how='full'" not in hybrid.log("n2")

    # The current server of the other group dies: the next one follows.
    counter = hybrid.count("n2")
    hybrid.lab.lab("crash", "n3")
    hybrid.runs_on("db-standby", "n4")
    hybrid.counted(counter)
    assert hybrid.group("db")["owner"] == "n2"
    hybrid.in_sync("n2")
    assert hybrid.log("n2").count("mirror_copy_started") >= 2
    assert "how='full'" not in hybrid.log("n2")

    # The server group is lost: what follows serves, with everything.
    eventually(lambda: "n1" not in _away(), "n1 is back", WAIT_S)
    eventually(lambda: "n3" not in _away(), "n3 is back", WAIT_S)
    clusterctl("drain", "server/n1")
    counter = hybrid.count("n2")
    hybrid.lab.lab("power", "n2", "off")
    hybrid.counted(counter)
    hybrid.runs_on("db", "n4")
    hybrid.has_everything("n4")

    # It comes back as the side that follows, and may serve again.
    clusterctl("undrain", "server/n1")
    hybrid.runs_on("db-standby", "n1", "n2")
    hybrid.in_sync("n4")
    clusterctl("move", "group/db-standby", "--to", "n1")
    hybrid.in_sync("n4")
    clusterctl("move", "group/db", "--to", "n1")
    hybrid.runs_on("db", "n1")
    hybrid.has_everything("n1")
    hybrid.runs_on("db-standby", "n3", "n4")
    hybrid.in_sync("n1")
    assert len(hybrid.engines()) == 2


def test_agents_and_engines_that_die_take_no_role_away(hybrid: HybridLab, tmp_path: Path) -> None:
    up(hybrid, tmp_path / "hybrid.yaml")
    epochs = {name: hybrid.group(name)["epoch"] for name in ("db", "db-standby")}
    counter = hybrid.count("n1")
    for server in ("n1", "n3"):
        hybrid.lab.lab("kill", f"{server}/agent")
    hybrid.runs_on("db", "n1")
    hybrid.runs_on("db-standby", "n3")
    before = int(hybrid.told.read_bytes())
    eventually(lambda: int(hybrid.told.read_bytes()) > before + 30, "it counts on", WAIT_S)

    # The side that follows is started again in place.
    hybrid.end_engine("n3")
    hybrid.in_sync("n1")
    # The one that serves is, too: its programs get errors, and everything that was told is there.
    hybrid.end_engine("n1")
    hybrid.counted(counter)
    eventually(lambda: hybrid.is_mounted("n1"), "it is mounted again", WAIT_S)
    hybrid.has_everything("n1")
    hybrid.in_sync("n1")
    assert {name: hybrid.group(name)["epoch"] for name in epochs} == epochs

    # Drained, a server gives its role to the other one of its server group.
    clusterctl("drain", "server/n3")
    hybrid.runs_on("db-standby", "n4")
    hybrid.in_sync("n1")
    assert hybrid.engines() == {"n1", "n4"}
    clusterctl("stop", "group/db")
    eventually(lambda: hybrid.engines() == {"n4"}, "nothing is left of it", WAIT_S)
    clusterctl("start", "group/db")
    hybrid.runs_on("db", "n1", "n2")
    hybrid.has_everything(str(hybrid.group("db")["owner"]))


def _away() -> set[str]:
    found = json.loads(clusterctl("get", "servers", "-o", "json").stdout)
    return {s["metadata"]["name"] for s in found if s["status"]["state"] != "online"}
