"""What a block device is and who uses it, from /sys, /proc and its first sectors. Changes nothing.

Used by `__main__`, in a process that may hang.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress

SYS = "/sys/dev/block"
_HEAD = 4096
_EXT_MAGIC_AT, _EXT_MOUNTS_AT = 1024 + 56, 1024 + 52
MPATH = "mpath-"


class Unusable(Exception):
    """The device is not there, or must not be used; one sentence."""


class Gone(Unusable):
    """There is no such device."""


_ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV)


def node_of(name: str) -> str:
    """The kernel's node behind a stable name, such as /dev/sdb. Raises `Unusable`."""
    node = os.path.realpath(name)
    try:
        mode = os.stat(node).st_mode
    except OSError as error:
        kind = Gone if error.errno in _ABSENT else Unusable
        raise kind(f"{name} is not there ({error.strerror})") from None
    if not stat.S_ISBLK(mode):
        raise Unusable(f"{name} is not a block device")
    return node


def number_of(node: str) -> str:
    """ "8:16" of /dev/sdb."""
    number = os.stat(node).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def units(node: str) -> list[list[str]]:
    """The logical units below a device, each with the nodes of all its paths. A multipath device
    has one unit with many paths, a partition that of its disk, a logical volume one per disk."""
    folder = f"{SYS}/{number_of(node)}"
    if os.path.exists(f"{folder}/partition"):
        return units(f"/dev/{os.path.basename(os.path.dirname(os.path.realpath(folder)))}")
    below = sorted(_listed(f"{folder}/slaves"))
    if not below:
        return [[node]]
    if _text(f"{folder}/dm/uuid").startswith(MPATH):
        return [[f"/dev/{name}" for name in below]]
    found = [unit for name in below for unit in units(f"/dev/{name}")]
    return [list(unit) for unit in dict.fromkeys(tuple(unit) for unit in found)]


def is_running(node: str) -> bool:
    """Whether the kernel uses a path; one of which it knows nothing more counts."""
    state = _text(f"{SYS}/{number_of(node)}/device/state").strip()
    return state in ("", "running", "live")


def uses(node: str) -> Iterator[str]:
    """Sentences: why a mount or a raw use of the device would damage what is on it."""
    number, folder = number_of(node), f"{SYS}/{number_of(node)}"
    if os.path.basename(node) in _swaps():
        yield "it is swap space"
    holders = sorted(_listed(f"{folder}/holders"))
    if holders:
        yield f"it is part of {', '.join(holders)}"
    parts = [name for name in _listed(folder) if os.path.exists(f"{folder}/{name}/partition")]
    if parts:
        yield f"it has partitions ({', '.join(sorted(parts))})"
    if number == _root_number():
        yield "the root file system is on it"
    line = in_fstab(node)
    if line:
        yield f"line {line} of /etc/fstab mounts it; add noauto there, or remove it"


def content(node: str) -> tuple[str, int | None]:
    """(why what is on it is no file system of its own, mounts since its last full check). Reads."""
    with open(node, "rb", buffering=0) as opened:
        head = opened.read(_HEAD)
    for sector in range(4):
        label = head[sector * 512 :][:32]
        if label.startswith(b"LABELONE") and label[24:].startswith(b"LVM2 001"):
            return "it is a physical volume of LVM", None
    if head[_HEAD - 10 :] == b"SWAPSPACE2":
        return "it is swap space", None
    if head[_EXT_MAGIC_AT:][:2] != b"\x53\xef":
        return "", None
    return "", int(struct.unpack_from("<H", head, _EXT_MOUNTS_AT)[0])


def is_taken(node: str) -> bool:
    """Whether a file system, in any mount namespace, or another exclusive user has it open."""
    try:
        os.close(os.open(node, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == 16:
            return True
        raise
    return False


def in_fstab(node: str, table: str = "/etc/fstab") -> int:
    """Number of the line that mounts the device at boot; 0 without one."""
    lines = _text(table).splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        options = words[3].split(",") if len(words) > 3 else []  # mount(8) needs no more than two
        if "noauto" not in options and os.path.realpath(_named(words[0])) == node:
            return number
    return 0


def foreign_mounts(number: str) -> list[int]:
    """Processes of other mount namespaces in which the device is mounted."""
    own, seen, found = os.stat("/proc/self/ns/mnt").st_ino, set(), []
    for name in os.listdir("/proc"):
        with suppress(OSError):  # it ended meanwhile
            space = os.stat(f"/proc/{name}/ns/mnt").st_ino if name.isdigit() else own
            if space == own:
                continue
            mounted = space in seen or f" {number} " in _text(f"/proc/{name}/mountinfo")
            if mounted:
                seen.add(space)
                found.append(int(name))
    return found


def _named(source: str) -> str:
    kind, equals, value = source.partition("=")
    if not equals or "/" in kind:
        return source
    return f"/dev/disk/by-{kind.lower()}/{value.strip(chr(34))}"


def _swaps() -> set[str]:
    lines = _text("/proc/swaps").splitlines()[1:]
    return {os.path.basename(os.path.realpath(line.split()[0])) for line in lines if line.split()}


def _root_number() -> str:
    number = os.stat("/").st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""
