"""Real etcd members with mutual TLS on loopback, to be killed, frozen and brought back by tests."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.etcd import EtcdStore, StoreTiming, TlsFiles
from reconciler.ports.store import StoreError
from tests.integration.certificates import Authority

_TOOLS = Path(__file__).parents[2] / ".tools" / "usr" / "bin"
READY_S = 15.0


def find_program(name: str) -> str | None:
    """On PATH, else where `make test` unpacks Debian's packages."""
    return shutil.which(name) or shutil.which(name, path=str(_TOOLS))


class LoopClock:
    """`Clock` on the running loop's own time (CLOCK_MONOTONIC)."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def after(self, seconds: float, act: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, act).cancel


@dataclass
class EtcdMember:
    """One process. Every signal goes to its pid, and `stop` always leaves nothing behind."""

    name: str
    argv: list[str]
    endpoint: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """As a crash; waits for the end."""
        if self.process is not None:
            self._signal(signal.SIGKILL)  # ends a stopped process too
            self.process.wait(10)
            self.process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)


@dataclass
class EtcdCluster:
    """`members` in the order of `endpoints`; `admin` is the certificate of etcd's root user."""

    directory: Path
    authority: Authority
    admin: TlsFiles
    members: list[EtcdMember] = field(default_factory=list)

    @classmethod
    def start(cls, directory: Path, size: int = 3, *more: str) -> "EtcdCluster":
        """`more`: further arguments of each member."""
        authority = Authority.create(directory / "pki")
        # No common name: the gateway would otherwise act as that user for everybody.
        server = authority.issue("", "server")
        cluster = cls(directory, authority, authority.issue("root", "admin"))
        ports = _free_ports(2 * size)
        peers = {f"m{i + 1}": f"https://127.0.0.1:{ports[2 * i]}" for i in range(size)}
        for index, name in enumerate(peers):
            client = f"https://127.0.0.1:{ports[2 * index + 1]}"
            argv = [*_arguments(name, directory / name, peers, client, server), *more]
            cluster.members.append(EtcdMember(name, argv, client, directory / f"{name}.log"))
        for member in cluster.members:
            member.start()
        return cluster

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def endpoints_from(self, first: int) -> list[str]:
        """All endpoints, that member's first."""
        return self.endpoints[first:] + self.endpoints[:first]

    def store(
        self,
        tls: TlsFiles | None = None,
        endpoints: list[str] | None = None,
        timing: StoreTiming | None = None,
    ) -> EtcdStore:
        return EtcdStore.connect(
            endpoints or self.endpoints, tls or self.admin, LoopClock(), timing
        )

    async def ready(self) -> None:
        """Every running member answers and there is a leader."""
        running = {member.endpoint for member in self.members if member.process is not None}
        store = self.store()
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    try:
                        await store.get("/ready", timeout_s=1.0)
                        health = await store.members()
                        answering = {m.endpoint for m in health if m.reachable}
                        if answering >= running and any(m.is_leader for m in health):
                            return
                    except StoreError:
                        await asyncio.sleep(0.05)
        finally:
            await store.close()

    async def leader(self) -> int:
        """Index of the leading member."""
        store = self.store()
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    for health in await store.members():
                        if health.is_leader:
                            return self.endpoints.index(health.endpoint)
                    await asyncio.sleep(0.05)
        finally:
            await store.close()

    def etcdctl(self, *arguments: str, endpoint: int = 0) -> str:
        program = find_program("etcdctl")
        assert program is not None
        tls = self.admin
        done = subprocess.run(
            [
                program,
                f"--endpoints={self.endpoints[endpoint]}",
                f"--cacert={tls.ca}",
                f"--cert={tls.cert}",
                f"--key={tls.key}",
                *arguments,
            ],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout

    async def restore(self) -> None:
        """All members run again and agree."""
        for member in self.members:
            if member.process is None:
                member.start()
            else:
                member.thaw()
        await self.ready()

    def stop(self) -> None:
        for member in self.members:
            member.kill()


def _arguments(
    name: str, data: Path, peers: dict[str, str], client: str, server: TlsFiles
) -> list[str]:
    program = find_program("etcd")
    assert program is not None
    return [
        program,
        f"--name={name}",
        f"--data-dir={data}",
        f"--listen-peer-urls={peers[name]}",
        f"--initial-advertise-peer-urls={peers[name]}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        "--initial-cluster=" + ",".join(f"{peer}={url}" for peer, url in peers.items()),
        "--initial-cluster-state=new",
        f"--initial-cluster-token={data.parent.name}",
        "--client-cert-auth",
        f"--trusted-ca-file={server.ca}",
        f"--cert-file={server.cert}",
        f"--key-file={server.key}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={server.ca}",
        f"--peer-cert-file={server.cert}",
        f"--peer-key-file={server.key}",
        "--heartbeat-interval=50",
        "--election-timeout=500",
        "--pre-vote",
        "--enable-grpc-gateway=false",
        "--logger=zap",
    ]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [int(held.getsockname()[1]) for held in sockets]
    finally:
        for held in sockets:
            held.close()
