"""The watchdog is fed only while all that others count on is true, also by the next pulse."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.pulse.feeding import Feeding
from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.watch import DeadMan
from reconciler.pulse.watchdog import Watchdog

PATIENCE, W = 0.5, 2


class Server:
    """The pulse of one server, as far as feeding goes; `box` is its mailbox on path `quorum`."""

    made: ClassVar[list["Server"]] = []

    def __init__(self, state: Path, now: float) -> None:
        self.made.append(self)
        self.watchdog = Watchdog()
        self.device, ours = socket.socketpair()
        self.device.setblocking(False)
        self.dead_man = DeadMan(str(state), now)
        self.dead_man.bind("b1")
        self.box = Mailbox("n1", 0, PATIENCE)
        self.boxes = {"quorum": self.box}
        paths: Any = type("Paths", (), {"mailboxes": lambda _: iter(self.boxes.items())})()
        self.feeding = Feeding(self.dead_man, self.watchdog, paths, lambda *_, **__: None)
        self.feeding.boot_id = "b1"
        self.feeding.arm({"timeout": W}, [ours.detach()], now)
        self.is_fed(now)

    def is_fed(self, now: float) -> bool:
        self.dead_man.prove(now + 10.0, 10.0, now)
        self.dead_man.judge(now, 6.0, True)
        self.feeding.feed(now)
        try:
            return b"feed" in self.device.recv(4096)
        except BlockingIOError:
            return False

    def read(self, now: float) -> None:
        """The disk answers: what its thread does."""
        self.box.promised_s, self.box.read_at = self.box.wanted_s, now


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pulse.json"
    for server in Server.made:
        server.watchdog.disarm()
        server.device.close()
    Server.made.clear()


def promised(state: Path) -> Server:
    server = Server(state, 100.0)
    server.read(100.0)
    assert server.is_fed(100.5)
    assert server.box.wanted_s == W
    server.read(100.5)
    return server


def test_the_next_pulse_knows_of_a_promise_before_the_disk_does(state: Path) -> None:
    server = Server(state, 100.0)
    assert server.box.wanted_s == 0, "a disk that never answered promises nothing"
    assert server.is_fed(101.0)
    server.read(101.0)
    server.is_fed(101.1)
    assert (server.box.wanted_s, server.box.promised_s) == (W, 0)
    assert DeadMan(str(state), 102.0).promises == {"quorum": (W, 101.0)}


def test_a_new_pulse_whose_disk_is_dead_lets_the_server_end(state: Path) -> None:
    """Whoever reads the old promise counts on it: else two servers ran the group."""
    promised(state)
    after = Server(state, 100.7)
    assert not after.is_fed(100.5 + PATIENCE + 0.6)
    assert not after.is_fed(110.0)
    after.read(111.0)
    assert after.is_fed(111.1)


def test_a_new_pulse_that_does_not_know_the_disk_any_more_lets_the_server_end(state: Path) -> None:
    promised(state)
    after = Server(state, 100.7)
    after.boxes.clear()
    assert not after.is_fed(105.0)
    after.dead_man.take_back(["quorum"])
    assert after.is_fed(106.0)
