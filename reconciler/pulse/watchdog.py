"""The hardware watchdog: it resets the machine when it is not fed. `process` feeds it.

The agent opens the device and passes the descriptor, so that it outlives this process: a pulse that
dies neither feeds nor closes it. Two kinds of device are known by what the descriptor is: a
character device with the kernel's ioctls, and a unix stream socket to a program that does the same
(one that multiplexes the device, or the stand-in of a lab): it reads lines, `timeout SECONDS`
(arms it if it is not armed), `feed`, and `stop`; only the last disarms it.
"""

import fcntl
import math
import os
import stat
import struct
from contextlib import suppress
from typing import Any, Protocol

from reconciler.pulse.canary import Canary

_KEEPALIVE = 0x80045705
_SET_TIMEOUT = 0xC0045706
_GET_TIMEOUT = 0x80045707
_SET_OPTIONS = 0x80045704
_DISABLE = 1
_FEEDS_PER_TIMEOUT = 5


class WatchdogDevice(Protocol):
    """What feeds, and never blocks. Every call raises `OSError` when the device does not obey."""

    def set_timeout(self, seconds: int, *, may_feed: bool) -> int:
        """Returns the time-out that is in force. Does not feed one that has it already: a new
        pulse inherits a deadline. Where setting it would feed, it is left unless `may_feed`."""
        ...

    def feed(self) -> None: ...

    def disarm(self) -> None: ...


class KernelWatchdog:
    """`/dev/watchdog`: opening it armed it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def set_timeout(self, seconds: int, *, may_feed: bool) -> int:
        known = self._ask(_GET_TIMEOUT, 0)
        if known == seconds or not may_feed:
            return known  # setting it would feed
        return self._ask(_SET_TIMEOUT, seconds)

    def _ask(self, request: int, value: int) -> int:
        answer = fcntl.ioctl(self._descriptor, request, struct.pack("i", value))
        return int(struct.unpack("i", answer)[0])

    def feed(self) -> None:
        fcntl.ioctl(self._descriptor, _KEEPALIVE, struct.pack("i", 0))

    def disarm(self) -> None:
        # Closing is not enough: supervisor and agent hold the same open file. With `nowayout` the
        # kernel refuses, and the machine is reset if nobody goes on feeding.
        fcntl.ioctl(self._descriptor, _SET_OPTIONS, struct.pack("i", _DISABLE))
        os.write(self._descriptor, b"V")


class SocketWatchdog:
    """A program that stands in for the device."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def set_timeout(self, seconds: int, *, may_feed: bool) -> int:
        del may_feed  # it says when it is fed
        os.write(self._descriptor, b"timeout %d\n" % seconds)
        return seconds

    def feed(self) -> None:
        os.write(self._descriptor, b"feed\n")

    def disarm(self) -> None:
        os.write(self._descriptor, b"stop\n")


def device(descriptor: int) -> WatchdogDevice:
    """The device behind a descriptor; raises `ValueError` for another kind of file."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(mode):
        return KernelWatchdog(descriptor)
    if stat.S_ISSOCK(mode):
        return SocketWatchdog(descriptor)
    raise ValueError("the watchdog is neither a character device nor a socket")


class Watchdog:
    """None is held until `take`. `timeout`: seconds in force, 0 while nothing is armed. With
    `stall` it is fed only while an ordinary process was seen to run within so many seconds."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._device: WatchdogDevice | None = None
        self._fed_at = float("-inf")
        self._canary = Canary()
        self._told = 0  # what the kernel's device was asked for last; it may know no such time-out
        self.timeout = 0
        self.error = ""

    @property
    def descriptor(self) -> int | None:
        """The open device, for an agent that has lost it; ours still."""
        return self._descriptor

    def take(
        self,
        descriptor: int,
        seconds: float,
        now: float = 0.0,
        stall: float = 0.0,
        *,
        may_feed: bool = True,
    ) -> bool:
        """Arm it and go on with it; the descriptor is ours from here on. Without `may_feed`
        nothing is done that feeds it. False when it must be told its time-out again, later. Raises
        `OSError` or `ValueError`; then what was held before is held still."""
        wanted = math.ceil(seconds)
        try:
            made = device(descriptor)
            told = isinstance(made, KernelWatchdog) and self._told == wanted
            timeout = self.timeout if told else made.set_timeout(wanted, may_feed=may_feed)
        except (OSError, ValueError):
            os.close(descriptor)
            raise
        if self._descriptor is not None:
            # It is the same open file, or a socket whose end means nothing.
            os.close(self._descriptor)
        self._descriptor, self._device = descriptor, made
        self.timeout, self.error, self._fed_at = timeout, "", float("-inf")
        self._canary.watch(stall, now)
        settled = may_feed or told or timeout == wanted
        self._told = wanted if settled else 0
        return settled

    def feed(self, now: float) -> None:
        """Call at each tick at which nothing runs that must not. Does not feed while ordinary
        processes get no time. Never raises."""
        if self._canary.start():
            self._canary.hear(now)
        if self._canary.is_stalled(now):
            return
        if self._device is None or now - self._fed_at < self.timeout / _FEEDS_PER_TIMEOUT:
            return
        try:
            self._device.feed()
        except OSError as error:
            self.error = error.strerror or type(error).__name__
            return
        self._fed_at, self.error = now, ""

    def disarm(self) -> str:
        """The magic close, for an orderly end with nothing left running; the reason if refused."""
        if self._device is None or self._descriptor is None:
            return ""
        try:
            self._device.disarm()
        except OSError as error:
            return error.strerror or type(error).__name__
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor, self._device, self.timeout, self._told = None, None, 0, 0
        self._canary.close()
        return ""

    def summary(self, now: float) -> dict[str, Any]:
        """For the view. `timeout` 0: none is armed."""
        fed = round(now - self._fed_at, 3) if math.isfinite(self._fed_at) else None
        silent = round(self._canary.silent_for(now), 3)
        return {
            "timeout": self.timeout,
            "fed_ago": fed,
            "error": self.error,
            "ordinary_silent_for": silent,
        }
