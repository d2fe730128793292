"""A hybrid disk on a real lab: four servers in two server groups, each with a file that its servers
share, and a counter that is told when a row is on disk.

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

MARKS = [
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
# Goes on from the number that it is given; tells each one after it is on disk. It ends with the
# program that entered the server for it.
COUNTER = """
import ctypes, os, struct, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
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

    def has_it_mounted(self, server: str) -> bool:
        """False for a server that is off."""
        with contextlib.suppress(LabError):
            return self.is_mounted(server)
        return False

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
        last, told = self.has_a_prefix(server), self.acknowledged
        assert last >= told, f"{told - last} rows that were told are missing"

    def has_a_prefix(self, server: str) -> int:
        """The last row that is there, with every one before."""
        code, text, errors = self.lab.run(server, "python3", "-S", "-c", READ)
        assert code == 0, errors
        data = bytes.fromhex(text.strip())
        rows = {number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])}
        last: int = max(rows)
        missing = set(range(max(1, last - 4000), last + 1)) - rows
        assert not missing, f"up to {last} there are holes: {sorted(missing)[:10]}"
        return last


@contextlib.contextmanager
def hybrid_lab(directory: Path, servers: int = 4) -> Iterator[HybridLab]:
    """A lab below this directory, with empty disks. A fifth server is in no server group."""
    lab = LabUnderTest(directory / "lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLUSTERCTL_CONTEXT", str(lab.directory / "context.yaml"))
        patch.setenv("CLUSTERCTL_LAB", str(lab.directory))
        try:
            clusterctl(
                "lab", "up", "--dir", str(lab.directory), "--detach", "--servers", str(servers)
            )
            for name in ("left", "right"):
                with (lab.directory / "shared" / f"{name}.img").open("wb") as opened:
                    opened.truncate(SHARED_METADATA + SIZE)
            yield HybridLab(lab, directory / "told")
        finally:
            for node in NODES:  # shown when the test fails
                print(node, HybridLab(lab, directory).log(node))
            print(clusterctl("events", check=False).stdout)
            print(clusterctl("status", check=False).stdout)
            lab.down()


def up(hybrid: HybridLab, specs: Path, text: str = SPECS) -> None:
    specs.write_text(text)
    clusterctl("apply", "-f", str(specs))
    hybrid.runs_on("db", "n1")
    hybrid.runs_on("db-standby", "n3")
    hybrid.in_sync("n1")
    assert hybrid.engines() == {"n1", "n3"}


def away() -> set[str]:
    found = json.loads(clusterctl("get", "servers", "-o", "json").stdout)
    return {s["metadata"]["name"] for s in found if s["status"]["state"] != "online"}


def back(*servers: str) -> None:
    eventually(lambda: not away() & set(servers), f"{', '.join(servers)} came back", WAIT_S)
