"""An agent that was stopped and started: systemd kept nothing, its pulse has the watchdog."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.linux.watchdog import WatchdogKeeper
from reconciler.adapters.peers.pulse_peers import PulsePeers
from tests.integration.test_pulse import Cluster, until

pytestmark = pytest.mark.integration


class StandIn:
    """A device on which a program listens; `closed` once nobody holds it open any more."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, b""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        self._open: socket.socket | None = None
        self.opened, self.closed = 0, False

    def listen(self) -> None:
        try:
            self._open, _ = self._listener.accept()
            self._open.setblocking(False)
            self.opened += 1
        except BlockingIOError:
            pass
        try:
            data = self._open.recv(65536) if self._open else b"-"
            self.said += data
            self.closed = not data
        except BlockingIOError:
            pass

    def fed_anew(self) -> bool:
        """Since the last time that this was asked."""
        self.listen()
        fed, self.said = b"feed" in self.said, b""
        return fed

    def close(self) -> None:
        self._listener.close()
        if self._open:
            self._open.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[StandIn]:
    made = StandIn(tmp_path / "watchdog")
    yield made
    made.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path, 1)
    yield made
    await made.close()


async def borrowed(peers: PulsePeers) -> int:
    found: list[int] = []

    def looks() -> bool:
        lent = peers.borrow_watchdog()
        found.extend([] if lent is None else [lent])
        return bool(found)

    await until(looks, "the pulse lends its watchdog")
    return found[0]


async def test_the_next_agent_gets_the_open_device_from_the_pulse_and_outlives_it(
    server: Cluster, device: StandIn
) -> None:
    first = WatchdogKeeper()
    peers = await server.start("n1")
    peers.arm(first.descriptor(device.path), 3.0)
    await until(device.fed_anew, "it is armed and fed")
    await server.leave("n1")
    first.forget()  # `systemctl stop`: nothing of the agent is left, and no descriptor store

    peers = await server.start("n1")
    await until(lambda: peers.status().watchdog_s == 3.0, "the pulse feeds it still")
    second = WatchdogKeeper()
    second.adopt(await borrowed(peers))
    descriptor = second.descriptor(device.path)
    assert not os.get_inheritable(descriptor), "programs of groups must not hold it"
    peers.arm(descriptor, 3.0)
    pid = server.pid("n1")
    os.kill(pid, signal.SIGKILL)
    await until(lambda: peers.status().pid not in (None, pid), "another pulse")
    await until(device.fed_anew, "which feeds the same device")
    assert (device.opened, device.closed) == (1, False)
    second.forget()


async def test_a_pulse_without_a_watchdog_lends_none(server: Cluster) -> None:
    peers = await server.start("n1")
    for _ in range(3):
        assert peers.borrow_watchdog() is None
    before = peers.view().taken_at
    await until(lambda: peers.view().taken_at > before, "it goes on")
    assert peers.borrow_watchdog() is None
