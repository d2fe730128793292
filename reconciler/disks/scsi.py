"""SCSI commands over the SG_IO ioctl: TEST UNIT READY and persistent reservations, byte by byte.

Used by `reservation` and by the probe of the monitor `disk-tur`.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SG_IO = 0x2285
TIMEOUT_MS = 5000
_NONE, _TO_DEVICE, _FROM_DEVICE = -1, -2, -3
_SENSE_BYTES = 64
# struct sg_io_hdr of <scsi/sg.h>
_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII0P")
_STATUS, _HOST_STATUS, _DRIVER_STATUS = 13, 17, 18

TEST_UNIT_READY = bytes(6)
_PR_IN, _PR_OUT = 0x5E, 0x5F
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = range(7)
"""Service actions of PERSISTENT RESERVE OUT."""
READ_KEYS, READ_RESERVATION = range(2)
"""Service actions of PERSISTENT RESERVE IN."""
WRITE_EXCLUSIVE_REGISTRANTS = 5
_ALLOCATED = 8192

GOOD, CHECK_CONDITION, BUSY, CONFLICT = 0x00, 0x02, 0x08, 0x18
NOT_READY, ILLEGAL_REQUEST, UNIT_ATTENTION = 0x02, 0x05, 0x06
_KEY_NAMES = {
    0x02: "not ready",
    0x03: "medium error",
    0x04: "hardware error",
    0x05: "illegal request",
    0x06: "unit attention",
    0x07: "write protected",
    0x0B: "aborted command",
}


class NoScsi(Exception):
    """The device takes no SCSI commands."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device said. `status` is SAM's; `host` and `driver` are the transport's, 0 if it
    worked; `key`, `asc`, `ascq` come from the sense data of a check condition."""

    status: int
    data: bytes = b""
    key: int = 0
    asc: int = 0
    ascq: int = 0
    host: int = 0
    driver: int = 0

    @property
    def is_good(self) -> bool:
        return not self.status and not self.host

    def __str__(self) -> str:
        if self.host:
            return f"the transport failed (host status {self.host:#04x})"
        if self.status == CHECK_CONDITION:
            name = _KEY_NAMES.get(self.key, f"sense key {self.key:#x}")
            return f"{name} (asc {self.asc:#04x}, ascq {self.ascq:#04x})"
        names = {GOOD: "good", BUSY: "busy", CONFLICT: "reservation conflict"}
        return names.get(self.status, f"status {self.status:#04x}")


class Path(Protocol):
    """One way to a logical unit: what tests fake."""

    def send(self, command: bytes, out: bytes = b"", size: int = 0) -> Answer:
        """One command, with data to the device or up to `size` bytes from it."""
        ...


class Device:
    """A path that is a block device of this server."""

    def __init__(self, node: str) -> None:
        self._node = node

    def send(self, command: bytes, out: bytes = b"", size: int = 0) -> Answer:
        """Raises `NoScsi`, and `OSError` when it cannot be opened."""
        descriptor = os.open(self._node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _send(descriptor, command, out, size)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
                raise NoScsi(f"{self._node} takes no SCSI commands") from error
            raise
        finally:
            os.close(descriptor)


def _send(descriptor: int, command: bytes, out: bytes, size: int) -> Answer:
    data = ctypes.create_string_buffer(out or bytes(size), max(len(out), size, 1))
    sense = ctypes.create_string_buffer(_SENSE_BYTES)
    header = bytearray(
        request(
            command,
            ctypes.addressof(data),
            len(out) or size,
            ctypes.addressof(sense),
            to_device=bool(out),
        )
    )
    held = ctypes.create_string_buffer(command, len(command))
    struct.pack_into("@P", header, _COMMAND_AT, ctypes.addressof(held))
    fcntl.ioctl(descriptor, SG_IO, header, True)
    fields = _HEADER.unpack(header)
    answer = parse_sense(sense.raw)
    return Answer(
        fields[_STATUS],
        data.raw[:size] if size else b"",
        *(answer if fields[_STATUS] == CHECK_CONDITION else (0, 0, 0)),
        host=fields[_HOST_STATUS],
        driver=fields[_DRIVER_STATUS],
    )


_COMMAND_AT = struct.calcsize("@iiBBHIP")


def request(command: bytes, data: int, length: int, sense: int, *, to_device: bool) -> bytes:
    """A whole sg_io_hdr. `data` and `sense` are addresses; the command's is filled in later."""
    way = _NONE if not length else _TO_DEVICE if to_device else _FROM_DEVICE
    head = (ord("S"), way, len(command), _SENSE_BYTES, 0, length, data, 0, sense, TIMEOUT_MS)
    return _HEADER.pack(*head, *([0] * 12))


def parse_sense(sense: bytes) -> tuple[int, int, int]:
    """(sense key, asc, ascq) of fixed or descriptor format; zeros when there is none."""
    kind = sense[0] & 0x7F
    if kind in (0x70, 0x71):
        return sense[2] & 0x0F, sense[12], sense[13]
    if kind in (0x72, 0x73):
        return sense[1] & 0x0F, sense[2], sense[3]
    return 0, 0, 0


def reserve_in(action: int) -> bytes:
    """The 10 bytes of a PERSISTENT RESERVE IN for `_ALLOCATED` bytes."""
    return struct.pack(">BB5xHx", _PR_IN, action, _ALLOCATED)


def reserve_out(
    action: int, key: int, new: int = 0, *, persist: bool = False
) -> tuple[bytes, bytes]:
    """Command and parameters of a PERSISTENT RESERVE OUT. `key` is the one we are registered with,
    `new` the service action's key. `persist`: it outlives a power loss of the storage (APTPL)."""
    kind = 0 if action in (REGISTER, REGISTER_AND_IGNORE, CLEAR) else WRITE_EXCLUSIVE_REGISTRANTS
    parameters = struct.pack(">QQ4xB3x", key, new, int(persist))
    return struct.pack(">BBB2xIx", _PR_OUT, action, kind, len(parameters)), parameters


def read_keys(path: Path) -> tuple[int, ...]:
    """Every key that is registered with the unit, once for each path. Raises `ScsiError`."""
    data = _asked(path, reserve_in(READ_KEYS))
    count = min(struct.unpack_from(">I", data, 4)[0], _ALLOCATED - 8) // 8
    return struct.unpack_from(f">{count}Q", data, 8)


def read_holder(path: Path) -> tuple[int, int] | None:
    """(key, type) of the reservation; None without one. Raises `ScsiError`."""
    data = _asked(path, reserve_in(READ_RESERVATION))
    if struct.unpack_from(">I", data, 4)[0] < 16:
        return None
    return struct.unpack_from(">Q", data, 8)[0], data[21] & 0x0F


class ScsiError(Exception):
    """The device refused a command that must work."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer}")
        self.answer = answer


def patient(path: Path, command: bytes, out: bytes = b"", size: int = 0) -> Answer:
    """Send it again after a unit attention, which tells of something else (a reset, a preemption)
    and means that the command was not carried out."""
    for _ in range(4):
        answer = path.send(command, out, size)
        if answer.status != CHECK_CONDITION or answer.key != UNIT_ATTENTION:
            break
    return answer


def answering(paths: Sequence[Path]) -> Sequence[Path]:
    """Those that carry a command to the unit; all, when none does. A dead path must not keep a disk
    from being used: what is not registered through it cannot write through it either."""
    return [path for path in paths if _carries(path)] or paths


def _carries(path: Path) -> bool:
    try:
        return not patient(path, TEST_UNIT_READY).host
    except OSError:
        return False


def _asked(path: Path, command: bytes) -> bytes:
    answer = patient(path, command, size=_ALLOCATED)
    if not answer.is_good:
        raise ScsiError("its reservations cannot be read", answer)
    return answer.data
