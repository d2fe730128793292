"""Real pulse processes on loopback addresses: what they see of each other and of themselves."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.peers.configuration import (
    PulseConfiguration,
    heartbeat_paths,
    kill_address,
    kill_cgroup,
    kill_process,
)
from reconciler.adapters.peers.pulse_peers import PulsePeers
from reconciler.ports.peers import PeersView

pytestmark = pytest.mark.integration

KEY = secrets.token_hex(32)
PATIENCE_S = 15.0


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


class Cluster:
    """Servers n1..nN on 127.77.S.x (private) and 127.78.S.x (public) of this machine."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.slot = secrets.randbelow(200) + 20
        self.names = [f"n{number}" for number in range(1, size + 1)]
        self.addresses = {
            name: {"private": f"127.77.{self.slot}.{n}", "public": f"127.78.{self.slot}.{n}"}
            for n, name in enumerate(self.names, 1)
        }
        self.peers: dict[str, PulsePeers] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def configuration(
        self, name: str, keys: tuple[str, ...] = (KEY,), dead_man: float = 6.0
    ) -> PulseConfiguration:
        return PulseConfiguration(
            cluster="demo",
            server=name,
            boot_id=f"boot-of-{name}",
            keys=keys,
            interval=0.05,
            misses=4,
            dead_man=dead_man,
            session_ttl=10.0,
            paths=heartbeat_paths(name, ["private", "public"], self.addresses, 7400),
        )

    async def start(self, name: str, configuration: PulseConfiguration | None = None) -> PulsePeers:
        peers = PulsePeers(
            self.folder / f"{name}.sock",
            clock=MonotonicClock(),
            state_path=self.folder / f"{name}.state",
            log_path=self.folder / f"{name}.log",
        )
        peers.configure(configuration or self.configuration(name))
        self.peers[name] = peers
        self._tasks[name] = asyncio.create_task(peers.run())
        await peers.ready(PATIENCE_S)
        return peers

    async def start_all(self) -> None:
        for name in self.names:
            await self.start(name)
        await until(lambda: all(self.hears_all(name) for name in self.names), "all heard")

    async def leave(self, name: str) -> PulsePeers:
        """The agent of this server ends; its pulse stays."""
        task = self._tasks.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return self.peers[name]

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.leave(name)
        for peers in self.peers.values():
            await peers.stop_pulse()

    def pid(self, name: str) -> int:
        pid = self.peers[name].status().pid
        assert pid is not None
        return pid

    def hears_all(self, name: str) -> bool:
        view = self.peers[name].view()
        others = [peer.heard_at is not None and not peer.silent for peer in view.peers.values()]
        return view.pulse_alive and len(others) == len(self.names) - 1 and all(others)

    def silent(self, name: str) -> set[str]:
        return {peer.server for peer in self.peers[name].view().peers.values() if peer.silent}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path, 3)
    yield made
    await made.close()


async def test_a_killed_server_is_silent_to_all_others(cluster: Cluster) -> None:
    await cluster.start_all()
    await cluster.leave("n3")
    os.kill(cluster.pid("n3"), signal.SIGKILL)
    await until(lambda: cluster.silent("n1") == cluster.silent("n2") == {"n3"}, "n3 silent")
    await until(
        lambda: cluster.peers["n1"].view().peers["n2"].sees_silent == {"n3"},
        "n2's heartbeats tell n1 that n3 is silent",
    )
    missed = cluster.peers["n1"].view().peers["n3"].paths
    assert set(missed) == {"private", "public"}
    assert all(path.missed >= 4 for path in missed.values())


async def test_a_paused_observer_blames_nobody_when_it_comes_back(cluster: Cluster) -> None:
    await cluster.start_all()
    blamed: list[PeersView] = []
    paused = cluster.peers["n3"]

    async def watch() -> None:
        while True:
            await paused.changed()
            view = paused.view()
            if any(peer.silent or peer.suspect for peer in view.peers.values()):
                blamed.append(view)

    watcher = asyncio.create_task(watch())
    pauses = paused.status().pauses
    os.kill(cluster.pid("n3"), signal.SIGSTOP)
    await until(lambda: "n3" in cluster.silent("n1"), "n3 silent while stopped")
    os.kill(cluster.pid("n3"), signal.SIGCONT)
    await until(lambda: paused.status().pauses > pauses, "the pause is noticed")
    await until(lambda: not paused.status().paused and cluster.hears_all("n3"), "n3 judges again")
    await until(lambda: cluster.hears_all("n1"), "n1 hears n3 again")
    watcher.cancel()
    assert not blamed


async def test_the_pulse_outlives_its_agent_and_says_so(cluster: Cluster) -> None:
    await cluster.start("n1")
    await cluster.start("n2", cluster.configuration("n2", dead_man=0.5))
    n1 = cluster.peers["n1"]
    cluster.peers["n2"].report(store="quorum", proven_at=None)
    await until(lambda: n1.view().peers["n2"].agent_alive is True, "n2's agent is alive")
    assert n1.view().peers["n2"].store == "quorum"
    pid = cluster.pid("n2")
    await cluster.leave("n2")
    await until(lambda: n1.view().peers["n2"].agent_alive is False, "n2's agent is gone")
    assert not n1.view().peers["n2"].silent
    again = await cluster.start("n2", cluster.configuration("n2", dead_man=0.5))
    again.report(store="quorum", proven_at=None)
    await until(lambda: n1.view().peers["n2"].agent_alive is True, "a new agent took over")
    assert cluster.pid("n2") == pid
    assert again.status().pauses == 0


async def test_a_killed_pulse_is_replaced_and_heard_again(cluster: Cluster) -> None:
    await cluster.start_all()
    before = cluster.pid("n2")
    os.kill(before, signal.SIGKILL)
    await until(lambda: cluster.pid("n2") != before, "a new pulse")
    await until(lambda: cluster.hears_all("n2") and cluster.hears_all("n1"), "all heard again")


async def test_a_hung_pulse_is_reported_and_replaced(cluster: Cluster) -> None:
    await cluster.start_all()
    before = cluster.pid("n2")
    os.kill(before, signal.SIGSTOP)
    await until(lambda: not cluster.peers["n2"].view().pulse_alive, "the pulse counts as dead")
    await until(lambda: cluster.pid("n2") != before, "a new pulse")
    await until(lambda: cluster.hears_all("n2"), "all heard again")


async def test_keys_rotate_on_a_running_cluster_without_a_gap(cluster: Cluster) -> None:
    await cluster.start_all()
    suspected: set[str] = set()
    new = secrets.token_hex(32)
    for keys in ((new, KEY), (new,)):
        for name in cluster.names:
            cluster.peers[name].configure(cluster.configuration(name, keys))
            await cluster.peers[name].ready(PATIENCE_S)
            since = time.monotonic()
            await until(
                lambda since=since: all(  # type: ignore[misc]
                    (peer.heard_at or 0) > since
                    for peers in cluster.peers.values()
                    for peer in peers.view().peers.values()
                ),
                f"{name} and the others hear each other with {len(keys)} keys",
            )
            suspected |= {n for p in cluster.peers for n in cluster.silent(p)}
    assert not suspected
    logs = "".join((cluster.folder / f"{name}.log").read_text() for name in cluster.names)
    assert KEY not in logs
    assert new not in logs


async def test_a_second_pulse_on_the_same_socket_leaves(cluster: Cluster) -> None:
    await cluster.start("n1")
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reconciler.pulse", "--socket", str(cluster.folder / "n1.sock")
    )
    assert await asyncio.wait_for(done.wait(), PATIENCE_S) == 3


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def start(*argv: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, start_new_session=True)


@contextlib.contextmanager
def address_on_lo(address: str) -> Iterator[None]:
    subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(
            ["ip", "address", "del", address, "dev", "lo"],
            check=False,
            timeout=10,
            capture_output=True,
        )


def has_address(address: str) -> bool:
    shown = subprocess.run(
        ["ip", "-o", "address", "show", "dev", "lo"],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return f" {address} " in shown.stdout


@contextlib.contextmanager
def cgroup() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((Path(m[1]) for m in mounts if m[2] == "cgroup2"), None)
    if root is None:
        pytest.skip("no cgroup2 hierarchy is mounted")
    folder = root / f"pulse-test-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: addresses and cgroups")
async def test_an_isolated_unproven_server_ends_what_it_runs(cluster: Cluster) -> None:
    address = f"127.77.{cluster.slot}.99/32"
    with address_on_lo(address), cgroup() as folder:
        family = start("sh", "-c", "sleep 1000 & sleep 1000")
        grouped = start("sleep", "1000")
        (folder / "cgroup.procs").write_text(str(grouped.pid))
        n1 = await cluster.start("n1", cluster.configuration("n1", dead_man=0.5))
        n1.report(store="unknown", proven_at=time.monotonic())
        n1.register(
            [
                kill_cgroup(str(folder)),
                kill_process(family.pid, start_time(family.pid)),
                kill_process(os.getpid(), 1),  # somebody else by now: must survive
                kill_address(address, "lo"),
            ]
        )
        await until(lambda: n1.status().dead_man_fired > 0, "the dead-man fires")
        assert family.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert grouped.wait(timeout=PATIENCE_S) == -signal.SIGKILL
        assert not has_address(address)
        assert all(not error for _, error in n1.status().dead_man_outcomes)


async def test_a_server_that_hears_the_majority_keeps_all_when_the_store_is_gone(
    cluster: Cluster,
) -> None:
    with start("sleep", "1000") as workload:
        for name in ("n1", "n2"):
            peers = await cluster.start(name, cluster.configuration(name, dead_man=0.3))
            peers.report(store="no-quorum", proven_at=None)
        n1 = cluster.peers["n1"]
        n1.register([kill_process(workload.pid, start_time(workload.pid))])
        await until(lambda: (n1.status().proof_age or 0) > 2, "the proof is far too old")
        assert n1.status().isolated_for is None
        assert n1.status().dead_man_fired == 0
        assert workload.poll() is None
        workload.kill()


async def test_the_same_configuration_again_disturbs_nobody(cluster: Cluster) -> None:
    """As after each apply: nothing starts while the pulse is not known to be configured."""
    await cluster.start_all()
    peers = cluster.peers["n1"]
    peers.configure(cluster.configuration("n1"))
    assert peers.view().pulse_alive
    peers.configure(cluster.configuration("n1", ("cc" * 32,)))
    assert not peers.view().pulse_alive, "another one has to be confirmed"
