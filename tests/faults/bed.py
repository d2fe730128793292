"""What faults are made with: servers chosen by what they do, cuts that heal one by one, programs,
power. A thin layer over `ClusterUnderTest`; used by `kinds/`."""

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from clusterctl.lab import inside, plan, power
from tests.faults.cluster_under_test import ClusterUnderTest
from tests.integration.lab_under_test import SOURCE

TTL_S = 10.0
ASK = ("--timeout", "2s")
ETCDCTL_TIMEOUT_S = 20.0


class Bed:
    """`groups` are those with a witness."""

    def __init__(self, cluster: ClusterUnderTest, groups: Sequence[str]) -> None:
        self.cluster, self.groups = cluster, tuple(groups)
        self.servers = cluster.servers
        self._cuts: dict[int, list[tuple[str, ...]]] = {}
        self._next = 0
        self._last_owner: dict[str, str] = {}

    @property
    def plan(self) -> plan.Plan:
        return self.cluster.lab.plan

    @property
    def majority(self) -> int:
        return len(self.servers) // 2 + 1

    # -- who is who ----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The whole cluster; empty when the store does not answer."""
        answer = self.cluster.ctl(*ASK, "status", "-o", "json", check=False)
        found: dict[str, Any] = {} if answer.status else json.loads(answer.out)
        for group in found.get("groups", []):
            self._last_owner[group["name"]] = group["owner"] or ""
        return found

    def owner(self, group: str) -> str:
        """Who owns the group, as far as it was last known."""
        self.status()
        return self._last_owner.get(group, "") or self.servers[0]

    def pick(self, rng: random.Random) -> str:
        """One server: most often an owner, else any, the coordinator, or the store's leader."""
        status = self.status()
        role = rng.choice(("owner", "owner", "any", "coordinator", "leader"))
        anybody, group = rng.choice(self.servers), rng.choice(self.groups)
        found = {
            "owner": self._last_owner.get(group, ""),
            "coordinator": str(status.get("coordinator") or ""),
            "leader": self.leader(status),
        }.get(role, anybody)
        return found if found in self.servers else anybody

    def leader(self, status: dict[str, Any] | None = None) -> str:
        """The store's leader, or any server when that is not known."""
        known = status or self.status()
        found = known.get("store", {}).get("leader") or ""
        return found if found in self.servers else self.servers[0]

    def others(self, *names: str) -> list[str]:
        return [server for server in self.servers if server not in names]

    # -- networks ------------------------------------------------------------------------------

    def cut(self, *cuts: tuple[str, ...]) -> int:
        """Each is the words of `lab cut`; returns a handle for `uncut`."""
        for words in cuts:
            self.cluster.break_("cut", *words)
        self._next += 1
        self._cuts[self._next] = list(cuts)
        return self._next

    def uncut(self, handle: int) -> None:
        """Take these cuts back and keep the others."""
        self._cuts.pop(handle, None)
        self.cluster.break_("heal")
        for words in [each for cuts in self._cuts.values() for each in cuts]:
            self.cluster.break_("cut", *words)

    # -- programs and power ----------------------------------------------------------------------

    def pids(self, server: str, program: str) -> list[int]:
        lab = self.plan
        return inside.processes(power.read(lab.node_directory(server)))[program]

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def running(self, server: str) -> bool:
        return power.read(self.plan.node_directory(server)).running

    def paused(self, server: str) -> bool:
        return bool(self.cluster.lab_server(server)["state"] == "paused")

    def crash(self, *servers: str) -> None:
        """One after the other at once; one that died meanwhile is dead."""
        for server in servers:
            if self.running(server):
                answer = self.cluster.break_("crash", server, check=False)
                assert not self.running(server), f"{server} does not crash: {answer.err}"

    def heal_everything(self) -> None:
        """Whatever is broken, known or not."""
        for server in self.servers:
            self.cluster.break_("bmc", server, "ok")
            for program in ("agent", "pulse", "etcd"):
                self.signal(self.pids(server, program), signal.SIGCONT)
                self.program(server, program, enabled=True)
            if self.paused(server):
                self.cluster.break_("resume", server, check=False)
            self.power_on(server)
        self._cuts.clear()
        self.cluster.break_("heal")

    def power_on(self, server: str) -> None:
        """Also brings a crashed one back; one that runs stays as it is."""
        if not self.running(server):
            self.cluster.break_("power", server, "on")

    def on(self, server: str, *argv: str) -> bool:
        """Run a program on a server that runs; False if it failed or the server does not run."""
        answer = self.cluster.break_("exec", server, "--", *argv, check=False)
        return answer.status == 0

    def program(self, server: str, program: str, *, enabled: bool) -> None:
        """Let the supervisor of a server start a program again, or not any more."""
        switch = self.plan.node_directory(server) / "clusterctl/disabled" / program
        if enabled:
            switch.unlink(missing_ok=True)
        else:
            switch.parent.mkdir(exist_ok=True)
            switch.touch()

    # -- the store -------------------------------------------------------------------------------

    def etcdctl(self, *words: str, hosts: Sequence[str] = ()) -> str:
        """Output of `etcdctl`, of these members or of all; raises `CalledProcessError` or
        `TimeoutExpired`."""
        done = subprocess.run(
            [str(SOURCE / ".tools/usr/bin/etcdctl") if _own() else "etcdctl", *words],
            env={**os.environ, "ETCDCTL_API": "3", **self._etcd_environment(hosts)},
            capture_output=True,
            text=True,
            timeout=ETCDCTL_TIMEOUT_S,
            check=True,
        )
        return done.stdout

    def revision(self) -> int:
        """The store's newest, as the first member says that answers; raises `AssertionError`."""
        for host in self._etcd_hosts():
            with contextlib.suppress(subprocess.SubprocessError):
                told = self.etcdctl("endpoint", "status", "-w", "json", hosts=[host])
                return int(json.loads(told)[0]["Status"]["header"]["revision"])
        raise AssertionError("no member of the store answers")

    def _etcd_hosts(self) -> list[str]:
        return [node.addresses["private"] for node in self.plan.servers]

    def _etcd_environment(self, hosts: Sequence[str]) -> dict[str, str]:
        pki = self.cluster.lab.directory / "secrets/pki"
        return {
            "ETCDCTL_ENDPOINTS": ",".join(
                f"https://{host}:2379" for host in hosts or self._etcd_hosts()
            ),
            "ETCDCTL_CACERT": str(pki / "ca.crt"),
            "ETCDCTL_CERT": str(pki / "admin.crt"),
            "ETCDCTL_KEY": str(pki / "admin.key"),
        }


def _own() -> bool:
    return (SOURCE / ".tools/usr/bin/etcdctl").exists()
