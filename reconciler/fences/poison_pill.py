"""A note on a shared disk that ends a server: its own watchdog does, if it reads it or cannot."""

import mmap
import os
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Literal

from pydantic import Field

from reconciler.fences._attempt import Attempt, in_thread
from reconciler.plugin import FenceType
from reconciler.ports.clock import Clock
from reconciler.ports.power import FenceError, PowerOffReport, PowerState, SelfTest, Wanted, always
from reconciler.pulse.disk_layout import (
    BLOCK,
    MOST_SERVERS,
    owner_of,
    pill_offset,
    promise_offset,
    read_note,
    write_note,
)
from specs.scalars import Name, impact
from specs.timing_rules import CLOCK_DRIFT, RESET_S

_CALL_S = 5.0
_LONGEST_S = 60.0
_LISTEN_S = 0.5


class PoisonPill(FenceType):
    """Ends a server through a shared disk, without a way into it: a note in its mailbox on a
    heartbeat disk (`heartbeatPaths` of the Cluster, with `mailbox`).

    The server must have a `watchdog`. It promises on the disk, for each boot, to let the watchdog
    end it when it finds a pill, or could not read its mailbox for the time `mailbox`. So the proof
    needs no answer, only time: about mailbox + watchdog, a fifth more, and a second. It ends only
    the boot that the fence is for: a server that has started again meanwhile is left alone. It
    cannot switch a server on. A useful second level behind a BMC.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Server
    metadata: {name: n1}
    spec:
      addresses: {private: 10.77.1.11}
      watchdog: {timeout: 1s}
      fencing:
        levels:
          - {type: poison-pill, disk: /dev/disk/by-id/wwn-0x5, server: n1}
    ```
    """

    type: Literal["poison-pill"] = Field(
        default="poison-pill",
        description="Type of the fence device.",
        json_schema_extra=impact("none", example="poison-pill"),
    )
    disk: str = Field(
        pattern="^/",
        description="The heartbeat disk, under the same name on every server.",
        json_schema_extra=impact("none", example="/dev/disk/by-id/wwn-0x5"),
    )
    server: Name = Field(
        description="The server that this level ends: the one that it is written in.",
        json_schema_extra=impact("none", example="n1"),
    )

    def device(self, clock: Clock) -> "PoisonPillDevice":
        return PoisonPillDevice(self, clock)


class PoisonPillDevice:
    """`ports.power.FenceDevice` by a note and time. It ends a boot, not the power."""

    def __init__(self, settings: PoisonPill, clock: Clock) -> None:
        self._settings, self._clock = settings, clock

    async def power_off(
        self, valid_until: float, boots: tuple[str, ...] = (), wanted: Wanted = always
    ) -> PowerOffReport:
        """Write the pill, and wait until the promise must have come true. Raises `FenceError` also
        when another boot than `boots` has promised, or when it takes longer than the right to
        fence lasts: then nothing is written."""
        return await in_thread(
            lambda attempt, deliver: deliver(self._end(attempt, valid_until, boots, wanted)),
            _LONGEST_S,
            f"poison pill for {self._settings.server}",
        )

    async def self_test(self) -> SelfTest:
        """The disk answers, and the server's newest promise counts. Never raises."""
        began = time.monotonic()
        try:
            said = await self._call(lambda disk: str(_wait_s(disk.promise())))
        except FenceError as error:
            return SelfTest(False, str(error), (time.monotonic() - began) * 1000)
        detail = f"a pill ends {self._settings.server} within {float(said):.1f} s"
        return SelfTest(True, detail, (time.monotonic() - began) * 1000)

    async def status(self) -> PowerState:
        raise FenceError("a poison pill cannot tell whether the power is on")

    async def power_on(self) -> None:
        raise FenceError("a poison pill cannot switch a server on")

    async def power_cycle(self) -> None:
        raise FenceError("a poison pill cannot switch a server on")

    async def identify(self, seconds: int) -> None:
        raise FenceError(f"a disk has no locator LED (asked for {seconds} s)")

    async def prepare(self) -> None:
        """There is nothing to open early."""

    async def _call(self, work: Callable[["_Disk"], str]) -> str:
        def body(_: Attempt, deliver: Callable[[str], None]) -> None:
            with _Disk(self._settings) as disk:
                deliver(work(disk))

        return await in_thread(body, _CALL_S, f"mailbox of {self._settings.server}")

    def _end(
        self, attempt: Attempt, valid_until: float, boots: tuple[str, ...], wanted: Wanted
    ) -> PowerOffReport:
        began = time.monotonic()
        with _Disk(self._settings) as disk:
            promise = disk.promise()
            if promise["boot_id"] not in boots:
                # Started since, or of long ago: its end would prove nothing of those that count.
                text = f"the promise is of boot {promise['boot_id']}, which is not to be ended"
                raise FenceError(text)
            wait = _wait_s(promise)
            left = valid_until - self._clock.now()
            if wait > left:
                raise FenceError(
                    f"a pill needs {wait:.1f} s, and the right to fence lasts {left:.1f} s more: "
                    "a shorter watchdog or mailbox time helps"
                )
            attempt.check()
            wanted()
            disk.write_pill(str(promise["boot_id"]))
            attempt.pause(wait)
            attempt.check()
            now = disk.promise()
            attempt.pause(_LISTEN_S)
            # A later boot's promise proves the end of this one as well.
            if now["boot_id"] == promise["boot_id"]:
                if any(now[term] != promise[term] for term in ("watchdog_s", "patience_s")):
                    # Written before it could see the pill: what we waited for is not what it keeps.
                    raise FenceError(f"{self._settings.server} changed its promise meanwhile")
                if disk.promise() != now:
                    text = f"{self._settings.server} still writes, although it must be over"
                    raise FenceError(text)
        took = (time.monotonic() - began) * 1000
        boot_id = str(promise["boot_id"])
        return PowerOffReport(PowerState.ON, PowerState.OFF, None, took, boot_id)


class _Disk:
    """The mailbox of one server, read and written past the cache."""

    def __init__(self, settings: PoisonPill) -> None:
        self._settings = settings
        self._descriptor = -1
        self._buffer = mmap.mmap(-1, BLOCK)
        self._number: int | None = None

    def __enter__(self) -> "_Disk":
        path = self._settings.disk
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            raise FenceError(f"{path}: {error.strerror}") from None
        try:
            if owner_of(self._read(0)) is None:
                raise FenceError(f"{path} is not a heartbeat disk")
        except FenceError:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def promise(self) -> dict[str, Any]:
        """What the server wrote last. Raises `FenceError` when it never did."""
        numbers = range(MOST_SERVERS) if self._number is None else (self._number,)
        for number in numbers:
            note = read_note(self._read(promise_offset(number)))
            if note is not None and note.get("server") == self._settings.server:
                self._number = number
                return note
        raise FenceError(f"{self._settings.server} has promised nothing on {self._settings.disk}")

    def write_pill(self, boot_id: str) -> None:
        """Raises `FenceError` when it is not read back as written."""
        if self._number is None:
            raise FenceError("a pill follows a promise")
        block = write_note({"boot_id": boot_id, "nonce": token_hex(8)})
        self._buffer[:] = block
        try:
            os.pwritev(self._descriptor, [self._buffer], pill_offset(self._number))
        except OSError as error:
            raise FenceError(f"{self._settings.disk}: {error.strerror}") from None
        if self._read(pill_offset(self._number)) != block:
            raise FenceError("the pill was not read back as it was written")

    def _read(self, offset: int) -> bytes:
        try:
            size = os.preadv(self._descriptor, [self._buffer], offset)
        except OSError as error:
            raise FenceError(f"{self._settings.disk}: {error.strerror}") from None
        if size < BLOCK:
            raise FenceError(f"{self._settings.disk} is too small for a heartbeat disk")
        return self._buffer[:]


def _wait_s(promise: dict[str, Any]) -> float:
    """Seconds after the pill at which the boot is over, whatever it could read. Its clock may be
    slow and ours fast."""
    watchdog, patience = float(promise["watchdog_s"]), float(promise["patience_s"])
    if watchdog <= 0:
        raise FenceError(f"{promise['server']} has no armed watchdog: a pill would prove nothing")
    return (watchdog + patience) * (1 + CLOCK_DRIFT) / (1 - CLOCK_DRIFT) + RESET_S
