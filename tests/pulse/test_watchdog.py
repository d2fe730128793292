"""What the watchdog's device is told, over a socket as a stand-in for it."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from reconciler.pulse.watchdog import Watchdog


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, int]]:
    device, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    device.setblocking(False)
    yield device, ours.detach()
    device.close()


def told(device: socket.socket) -> list[str]:
    try:
        return device.recv(4096).decode().splitlines()
    except BlockingIOError:
        return []


def test_taking_it_arms_and_does_not_feed(pair: tuple[socket.socket, int]) -> None:
    device, descriptor = pair
    watchdog = Watchdog()
    watchdog.take(descriptor, 2.0)
    assert watchdog.timeout == 2
    assert told(device) == ["timeout 2"]


def test_it_is_fed_several_times_within_its_time_and_not_more(
    pair: tuple[socket.socket, int],
) -> None:
    device, descriptor = pair
    watchdog = Watchdog()
    watchdog.take(descriptor, 2.0)
    told(device)
    for tick in range(41):
        watchdog.feed(100.0 + tick * 0.05)
    assert 4 <= len(told(device)) <= 6


def test_only_disarming_stops_it(pair: tuple[socket.socket, int]) -> None:
    device, descriptor = pair
    watchdog = Watchdog()
    watchdog.take(descriptor, 2.0)
    assert watchdog.disarm() == ""
    assert told(device) == ["timeout 2", "stop"]
    assert watchdog.timeout == 0
    watchdog.feed(100.0)  # nothing is held any more


def test_a_device_that_went_away_is_told_and_never_ends_the_pulse(
    pair: tuple[socket.socket, int],
) -> None:
    device, descriptor = pair
    watchdog = Watchdog()
    watchdog.take(descriptor, 2.0)
    device.close()
    watchdog.feed(100.0)
    assert watchdog.error
    assert watchdog.summary(100.0)["timeout"] == 2


def test_what_is_no_watchdog_is_refused(tmp_path: object) -> None:
    read, write = os.pipe()
    watchdog = Watchdog()
    with pytest.raises(ValueError, match="neither"):
        watchdog.take(write, 2.0)
    os.close(read)
    assert watchdog.timeout == 0


def test_it_is_not_fed_while_ordinary_processes_do_not_run(
    pair: tuple[socket.socket, int],
) -> None:
    device, descriptor = pair
    watchdog = Watchdog()
    now = time.monotonic()
    watchdog.take(descriptor, 2.0, now, 30.0)
    watchdog.feed(now)
    assert told(device) == ["timeout 2", "feed"]
    os.kill(watchdog._canary._pid, signal.SIGSTOP)
    watchdog.feed(now + 29.0)
    watchdog.feed(now + 31.0 + 30.0)  # whatever it said before it stopped is not that young
    assert told(device) == ["feed"]
    assert watchdog.disarm() == ""


class Kernel:
    """The driver's ioctls: what it is asked, with its time-out."""

    def __init__(self, timeout: int) -> None:
        self.timeout, self.asked = timeout, []

    def ioctl(self, _descriptor: int, request: int, value: bytes) -> bytes:
        (number,) = struct.unpack("i", value)
        names = {0x80045707: "get", 0xC0045706: "set", 0x80045705: "feed", 0x80045704: "options"}
        self.asked.append((names[request], number))
        if names[request] == "set":
            self.timeout = max(number, 2)  # a driver may not know shorter ones
        return struct.pack("i", self.timeout)


@pytest.mark.parametrize(
    ("has", "wanted", "asked"),
    [
        (60, 10.0, [("get", 0), ("set", 10)]),
        (10, 10.0, [("get", 0)]),  # setting it again would feed: a new pulse inherits the deadline
        (60, 1.0, [("get", 0), ("set", 1)]),
    ],
)
def test_a_kernel_device_is_told_by_ioctls(
    monkeypatch: pytest.MonkeyPatch, has: int, wanted: float, asked: list[tuple[str, int]]
) -> None:
    kernel = Kernel(has)
    monkeypatch.setattr("fcntl.ioctl", kernel.ioctl)
    watchdog = Watchdog()
    watchdog.take(os.open("/dev/null", os.O_WRONLY), wanted)
    assert kernel.asked == asked
    assert watchdog.timeout == max(wanted, 2), "what is in force, not what was wanted"
    watchdog.feed(100.0)
    assert kernel.asked[-1] == ("feed", 0)
    assert watchdog.disarm() == ""
    assert kernel.asked[-1] == ("options", 1)


def test_a_device_that_knows_no_such_time_out_is_not_fed_by_asking_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel(60)
    monkeypatch.setattr("fcntl.ioctl", kernel.ioctl)
    watchdog = Watchdog()
    for _ in range(3):
        assert watchdog.take(os.open("/dev/null", os.O_WRONLY), 1.0)
    assert [what for what, _ in kernel.asked] == ["get", "set"], "setting it feeds it"
    assert watchdog.timeout == 2


def test_a_longer_time_out_does_not_feed_what_is_to_bite(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(60)
    monkeypatch.setattr("fcntl.ioctl", kernel.ioctl)
    watchdog = Watchdog()
    watchdog.take(os.open("/dev/null", os.O_WRONLY), 5.0)
    assert not watchdog.take(os.open("/dev/null", os.O_WRONLY), 9.0, may_feed=False)
    assert watchdog.timeout == 5
    assert [what for what, _ in kernel.asked].count("set") == 1
    assert watchdog.take(os.open("/dev/null", os.O_WRONLY), 9.0)
    assert watchdog.timeout == 9
