"""The few system calls that Python has no name for. Standard library only; used by board and init.

All raise `OSError` with the path or interface concerned.
"""

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

RB_AUTOBOOT = 0x01234567
RB_POWER_OFF = 0x4321FEDC

_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Move this process (or, for a PID namespace, its next child) into new namespaces."""
    _checked(_libc().unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc().mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, target)


def bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND)


def writable(target: str) -> None:
    """Take read-only off one mount."""
    mount("none", target, flags=MS_REMOUNT | MS_BIND)


def read_only_everywhere() -> None:
    """Make every mount of this mount namespace read-only."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    result = _libc().syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, len(attributes)
    )
    _checked(result, "/")


def reboot(command: int) -> None:
    """End this PID namespace as a machine would; the outermost one refuses for lack of use here."""
    _checked(_libc().reboot(ctypes.c_int(command - (1 << 32) if command >> 31 else command)), "")


def set_subreaper() -> None:
    """Orphans below this process become its children."""
    _checked(_libc().prctl(36, 1, 0, 0, 0), "prctl")


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks, so that a reused pid is noticed; None if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def kill_and_wait(pid: int, start: int, timeout_s: float) -> bool:
    """SIGKILL one process and wait until it is gone. For a PID namespace's init that means: until
    the whole namespace is empty. False if it still lives after `timeout_s`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if process_start(pid) != start:
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(descriptor)


def link_down(interface: str) -> None:
    """Take a link down in this network namespace; one that is gone already is fine."""
    request = struct.pack("16sH14x", interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
            flags = struct.unpack("16sH14x", answer)[1] & ~_IFF_UP
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", interface.encode(), flags))
        except OSError as error:
            # the kernel may remove a dead server's cable between the two calls
            if error.errno != errno.ENODEV:
                raise
