"""Loop devices that a lab's servers leave behind: the kernel keeps them when processes and mounts
are gone. Called by power.py and down.py. Standard library only.

A loop device is detached only when it is provably the lab's, by the device and inode numbers of
the file behind it. The path that the kernel shows proves nothing: it ends at the mount through
which the file was opened, so that `/srv/d` of a server reads `/d`, as anybody's may. So one whose
file was deleted meanwhile, on a file system that others use too, stays.

Those that the kernel detaches with their last user are left to it: their files are often served by
a program, as a mirror's is, and asking about a file waits for the program.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Collection, Mapping, Set
from pathlib import Path

_LOOP_CLR_FD = 0x4C01
_LOOP_GET_STATUS64 = 0x4C05
_STATUS_BYTES = 232  # struct loop_info64; it begins with device and inode, eight bytes each
# The last two: the program that served the file has died, so that nobody can say whose it is.
_GONE = (errno.ENXIO, errno.ENOENT, errno.ENODEV, errno.ENOTCONN, errno.ECONNABORTED)

# st_dev and st_ino of the file behind a loop device; the kernel's numbers are stat's for every
# major below 4096
Backing = tuple[int, int]


def mounted(pid: int) -> dict[str, str]:
    """Loop devices that the mount namespace of a process has file systems on, each with the number
    that the kernel gave to this attachment. Raises `OSError` when the process is gone."""
    found = {}
    for line in _mounts(pid):
        source = line.partition(" - ")[2].split(" ")[1]
        if source.startswith("/dev/loop"):
            found[source] = _attachment(source)
    return found


def file_systems(pid: int) -> dict[int, list[str]]:
    """Device numbers of what is mounted in the mount namespace of a process, each with its mount
    points as mountinfo writes them. Raises `OSError` when the process is gone."""
    found: dict[int, list[str]] = {}
    for line in _mounts(pid):
        _, _, number, _, target = line.split(" ")[:5]
        major, minor = map(int, number.split(":"))
        found.setdefault(os.makedev(major, minor), []).append(target)
    return found


def _mounts(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


def _attachment(device: str) -> str:
    """Empty when nothing is attached."""
    folder = Path("/sys/block") / Path(device).name
    try:
        return (folder / "diskseq").read_text() if (folder / "loop").is_dir() else ""
    except OSError:
        return ""


def gone(loops: dict[str, str], timeout_s: float) -> bool:
    """Wait until the kernel has unmounted them, which it does a little after the last process of a
    namespace: until then it still writes."""
    deadline = time.monotonic() + timeout_s
    while any(at and _attachment(device) == at for device, at in loops.items()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def attached_on(file_systems: Collection[int]) -> dict[str, str]:
    """Loop devices whose files lie on one of these file systems (device numbers), each with the
    number of its attachment. To be asked before a server ends: the kernel gives the device numbers
    to somebody else then."""
    found = _attached() if file_systems else {}
    return {
        device: _attachment(device)
        for device, backing in found.items()
        if backing[0] in file_systems
    }


def detach(directory: Path, own: Mapping[str, str] | None = None) -> int:
    """Detach every loop device whose file lies below `directory`, and those of `attached_on` that
    are still what they were; returns how many. The files must still be there."""
    backings, own = _attached(), own or {}
    below = _files_below(directory, set(backings.values())) if backings else set()
    return sum(
        _detached(device, backing)
        for device, backing in backings.items()
        if backing in below or (own.get(device) and own[device] == _attachment(device))
    )


def _attached() -> dict[str, Backing]:
    found = {}
    for folder in Path("/sys/block").glob("loop*/loop"):
        device = f"/dev/{folder.parent.name}"
        try:
            if (folder / "autoclear").read_text().strip() == "0":
                found[device] = _asked(device, None)
        except OSError as error:
            if error.errno not in _GONE:
                raise
    return found


def _detached(device: str, backing: Backing) -> bool:
    """Detach it, unless it is another file's by now."""
    try:
        return _asked(device, backing) == backing
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return False


def _asked(device: str, detach_from: Backing | None) -> Backing:
    """What is behind the device, which is then detached if it is that."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = bytearray(_STATUS_BYTES)
        fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, status)
        file_system, inode = struct.unpack_from("QQ", status)
        if (file_system, inode) == detach_from:
            fcntl.ioctl(descriptor, _LOOP_CLR_FD)
        return file_system, inode
    finally:
        os.close(descriptor)


def _files_below(directory: Path, wanted: Set[Backing]) -> set[Backing]:
    """Those of `wanted` that are files below `directory`. Only what has a fitting inode number is
    looked at closely: a lab has many files."""
    inodes = {inode for _, inode in wanted}
    found: set[Backing] = set()
    folders = [str(directory)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.inode() in inodes and entry.is_file(follow_symlinks=False):
                        seen = entry.stat(follow_symlinks=False)
                        found.add((seen.st_dev, seen.st_ino))
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away between two looks
    return found & wanted
