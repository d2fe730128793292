"""NVMe reservations: as `reservation` does it for SCSI, with the commands of the NVM command set.

Type 3, *write exclusive, registrants only*. Here a registrant is a host (its host id), not a path:
a namespace with native multipath is one device, and one registration. Keys are those of
`reservation`. Used by `__main__` and tests; no NVMe device was at hand to try it on.
"""

import ctypes
import errno
import fcntl
import os
import re
import struct
from dataclasses import dataclass
from typing import Protocol

from reconciler.disks.reservation import Refused, is_newer, newer_epochs, older, refuse_others

# _IO('N', 0x40), and _IOWR('N', 0x43, struct nvme_passthru_cmd) of <linux/nvme_ioctl.h>
IOCTL_ID, IOCTL_IO_CMD = 0x4E40, 0xC0484E43
_COMMAND = struct.Struct("=BBHIIIQQIIIIIIIIII")
_OPCODE, _NAMESPACE, _DATA_ADDRESS = 0, 3, 7
TIMEOUT_MS = 5000

REGISTER, REPORT, ACQUIRE, RELEASE = 0x0D, 0x0E, 0x11, 0x15
"""Opcodes of I/O commands."""
NEW, UNREGISTER, REPLACE = range(3)
"""Actions of REGISTER."""
TAKE, PREEMPT, PREEMPT_AND_ABORT = range(3)
"""Actions of ACQUIRE."""
WRITE_EXCLUSIVE_REGISTRANTS = 3
_IGNORE_KEY = 1 << 3
_KEEP_OVER_POWER_LOSS = 3 << 30
_EXTENDED = 1

STATUS_MASK = 0x7FF
CONFLICT, HOST_ID_FORMAT, INVALID_FIELD = 0x83, 0x18, 0x02
_REPORT_BYTES = 4096
_DEVICE = re.compile(r"^nvme\d+n\d+$")


class NvmeError(Exception):
    """The namespace refused a command that must work, or takes no reservations."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is NVMe's, 0 when it worked, without its flags."""

    status: int
    data: bytes = b""


class Namespace(Protocol):
    """A namespace: what tests fake."""

    def send(
        self, opcode: int, cdw10: int, out: bytes = b"", size: int = 0, cdw11: int = 0
    ) -> Answer:
        """One command, with data to the device or up to `size` bytes from it."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """Every registered key, and (key, type) of the holder."""

    keys: tuple[int, ...]
    holder: tuple[int, int] | None


def is_nvme(node: str) -> bool:
    return bool(_DEVICE.match(os.path.basename(node)))


class Device:
    """A namespace that is a block device of this server."""

    def __init__(self, node: str) -> None:
        self._node = node

    def send(
        self, opcode: int, cdw10: int, out: bytes = b"", size: int = 0, cdw11: int = 0
    ) -> Answer:
        """Raises `NvmeError`, and `OSError` when it cannot be opened."""
        descriptor = os.open(self._node, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(descriptor, IOCTL_ID)
            data = ctypes.create_string_buffer(out or bytes(size), max(len(out), size, 1))
            where = ctypes.addressof(data)
            command = bytearray(
                request(opcode, number, cdw10, where, len(out) or size, cdw11=cdw11)
            )
            status = fcntl.ioctl(descriptor, IOCTL_IO_CMD, command, True)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                raise NvmeError(f"{self._node} takes no NVMe commands") from error
            raise
        finally:
            os.close(descriptor)
        return Answer(status & STATUS_MASK, data.raw[:size] if size else b"")


def request(
    opcode: int, namespace: int, cdw10: int, data: int, length: int, *, cdw11: int = 0
) -> bytes:
    """A whole struct nvme_passthru_cmd, 72 bytes. `data` is an address."""
    head = (opcode, 0, 0, namespace, 0, 0, 0, data, 0, length)
    return _COMMAND.pack(*head, cdw10, cdw11, 0, 0, 0, 0, TIMEOUT_MS, 0)


def report(unit: Namespace) -> Report:
    """Raises `NvmeError`."""
    dwords = _REPORT_BYTES // 4 - 1
    for extended in (_EXTENDED, 0):
        answer = unit.send(REPORT, dwords, size=_REPORT_BYTES, cdw11=extended)
        if answer.status not in (HOST_ID_FORMAT, INVALID_FIELD):
            break
    if answer.status:
        raise NvmeError(f"its reservations cannot be read: {_said(answer)}")
    return _parse(answer.data, extended=bool(extended))


def _parse(data: bytes, *, extended: bool) -> Report:
    """Little-endian, unlike SCSI. The extended form has longer host ids, after the key."""
    kind, count = data[4], struct.unpack_from("<H", data, 5)[0]
    first, step, key_at = (64, 64, 8) if extended else (24, 24, 16)
    if first + count * step > len(data):
        raise NvmeError(f"it has {count} registrants, more than can be read")
    keys, holder = [], None
    for at in range(first, first + count * step, step):
        key = struct.unpack_from("<Q", data, at + key_at)[0]
        keys.append(key)
        if kind and data[at + 2] & 1:
            holder = (key, kind)
    return Report(tuple(keys), holder)


def take(unit: Namespace, key: int) -> None:
    """As `reservation.take`. Raises `reservation.Refused` and `NvmeError`."""
    refuse_others(report(unit).keys, key)
    try:
        _register(unit, key)
        _become_holder(unit, key)
        for other in sorted(set(report(unit).keys) - {key}):
            refuse_others((other,), key)
            _acquire(unit, PREEMPT_AND_ABORT, key, other, "an old key does not go")
        _verify(unit, key)
    except (Refused, NvmeError):
        drop(unit, key)
        raise


def drop(unit: Namespace, key: int) -> None:
    """Unregister this host, if `key` is its own; with it goes its reservation."""
    unit.send(REGISTER, UNREGISTER, struct.pack("<QQ", key, 0))


def why_not_held(unit: Namespace, key: int) -> str:
    """As `reservation.why_not_held`. Reads only."""
    found = report(unit)
    if key not in found.keys or found.holder != (key, WRITE_EXCLUSIVE_REGISTRANTS):
        newer = newer_epochs(found.keys, key)
        return (
            f"another server took it at epoch {newer[-1]}" if newer else "its reservation is gone"
        )
    for other in sorted(set(found.keys) - {key}):
        if is_newer(other, key) is not False:
            return f"another key is registered too, {other:#018x}"
    return ""


def hold(unit: Namespace, key: int) -> str:
    """As `reservation.hold`: shuts old keys out once more, never registers."""
    reason = why_not_held(unit, key)
    if not reason:
        for other in older(report(unit).keys, key):
            _acquire(unit, PREEMPT_AND_ABORT, key, other, "an old key does not go")
    return reason


def _register(unit: Namespace, key: int) -> None:
    """A host that is registered with another key (an older start of its own) replaces it. Not every
    namespace can keep registrations over its own power loss."""
    for kept in (_KEEP_OVER_POWER_LOSS, 0):
        for action, old in ((NEW, 0), (REPLACE | _IGNORE_KEY, 0)):
            answer = unit.send(REGISTER, action | kept, struct.pack("<QQ", old, key))
            if not answer.status:
                return
            if answer.status != CONFLICT:
                break
        if answer.status != INVALID_FIELD:
            break
    raise NvmeError(f"it takes no reservations: {_said(answer)}")


def _become_holder(unit: Namespace, key: int) -> None:
    holder = report(unit).holder
    if holder is None:
        _acquire(unit, TAKE, key, 0, "it cannot be reserved")
    elif holder[0] != key:
        refuse_others((holder[0],), key)
        _acquire(unit, PREEMPT_AND_ABORT, key, holder[0], "its old owner cannot be shut out")
    elif holder[1] != WRITE_EXCLUSIVE_REGISTRANTS:
        raise Refused(f"it is reserved in another way (type {holder[1]})")


def _verify(unit: Namespace, key: int) -> None:
    found = report(unit)
    if set(found.keys) != {key}:
        refuse_others(sorted(set(found.keys) - {key}), key)
        gone = key not in found.keys
        raise Refused("its reservation is gone" if gone else "old keys are still there")
    if found.holder != (key, WRITE_EXCLUSIVE_REGISTRANTS):
        raise Refused("its reservation is gone")


def _acquire(unit: Namespace, action: int, key: int, other: int, what: str) -> None:
    cdw10 = action | WRITE_EXCLUSIVE_REGISTRANTS << 8
    answer = unit.send(ACQUIRE, cdw10, struct.pack("<QQ", key, other))
    if answer.status:
        raise NvmeError(f"{what}: {_said(answer)}")


def _said(answer: Answer) -> str:
    names = {CONFLICT: "reservation conflict", INVALID_FIELD: "invalid field", 1: "not supported"}
    return names.get(answer.status, f"status {answer.status:#x}")
