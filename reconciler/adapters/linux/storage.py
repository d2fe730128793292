"""Which block devices this server has and what they are used for: read out of sysfs, the mount
table and udev's database. Nothing is opened, so a device that hangs holds up nobody.

Called by `gauges`; `clusterctl apply` compares specs with it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.decide.storage_facts import Device, FreeSpace, StorageFacts

MOST_DEVICES = 256
MOST_NAMES = 16
MOST_FILE_SYSTEMS = 64
SECTOR = 512
_UNREAL = ("loop", "ram", "zram", "sr", "fd")
_NOT_DISKS = {"block", "bus", "char", "cpu", "dri", "fd", "hugepages", "input", "mqueue", "net"}
_NOT_DISKS |= {"pts", "shm", "snd", "vfio"}
_FOREIGN = {
    "LVM2_member": "a physical volume of LVM",
    "linux_raid_member": "part of a RAID array",
    "crypto_LUKS": "an encrypted device",
    "swap": "swap space",
    "zfs_member": "part of a ZFS pool",
    "mpath_member": "a path of a multipath device",
}


def storage(root: Path = Path("/")) -> StorageFacts:
    """`root` is another directory in tests only. Raises nothing: what cannot be read is missing."""
    fstab, names = _fstab(root), _names(root)
    mounted = _mounted(root)
    swaps = {line.split()[0] for line in _lines(root / "proc/swaps")[1:]}
    devices = []
    for entry in _entries(root / "sys/class/block"):
        if entry.startswith(_UNREAL):
            continue
        path = f"/dev/{entry}"
        known = (path, *sorted(names.get(path, ())))[:MOST_NAMES]
        use = _use(root, entry, known, mounted, fstab, swaps)
        devices.append(Device(names=known, size=_size(root, entry), use=use))
    return StorageFacts(
        devices=tuple(devices[:MOST_DEVICES]),
        free=tuple(_free(mounted, root))[:MOST_FILE_SYSTEMS],
        fstab=tuple(sorted({directory for _, directory in fstab if directory.startswith("/")})),
    )


def _use(
    root: Path,
    entry: str,
    names: tuple[str, ...],
    mounted: dict[str, str],
    fstab: list[tuple[str, str]],
    swaps: set[str],
) -> str:
    """What it is used for by somebody else than the cluster; "" for nothing that is known."""
    for name in names:
        if (directory := mounted.get(name)) is not None:
            return "the root file system" if directory == "/" else f"mounted on {directory}"
        if name in swaps:
            return "swap space"
    block = root / "sys/class/block" / entry
    holders = [h for h in _entries(block / "holders") if not h.startswith(("loop", "drbd"))]
    udev = _udev(root, entry)
    if (foreign := _FOREIGN.get(udev.get("ID_FS_TYPE", ""))) is not None:
        return foreign
    if holders:
        return f"part of /dev/{holders[0]}"
    if any((block / child / "partition").exists() for child in _entries(block)):
        return "divided into partitions"
    ids = {f"UUID={udev.get('ID_FS_UUID')}", f"LABEL={udev.get('ID_FS_LABEL')}"}
    ids |= {f"PARTUUID={udev.get('ID_PART_ENTRY_UUID')}", *names}
    found = next((where for source, where in fstab if source in ids), None)
    return f"in /etc/fstab for {found}" if found is not None else ""


def _names(root: Path) -> dict[str, set[str]]:
    """By kernel name, as `/dev/sda`, the other names that lead to it."""
    found: dict[str, set[str]] = {}
    dev = root / "dev"
    folders = [dev / name for name in _entries(dev) if name not in _NOT_DISKS]
    folders = [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
    folders += [folder / name for folder in folders for name in _entries(folder)]
    for folder in folders:
        for name in _entries(folder):
            link = folder / name
            with suppress(OSError):
                if link.is_symlink():
                    target = os.path.normpath(folder / link.readlink())
                    real = "/" + os.path.relpath(target, root)
                    found.setdefault(real, set()).add("/" + str(link.relative_to(root)))
    return found


def _mounted(root: Path) -> dict[str, str]:
    """Directory by source, the first mount of each."""
    found: dict[str, str] = {}
    for line in _lines(root / "proc/self/mountinfo"):
        words = line.split()
        if " - " in line and len(words) > words.index("-") + 2:
            found.setdefault(words[words.index("-") + 2], words[4].replace("\\040", " "))
    return found


def _fstab(root: Path) -> list[tuple[str, str]]:
    lines = (line.split("#")[0].split() for line in _lines(root / "etc/fstab"))
    return [(words[0], words[1]) for words in lines if len(words) > 1]


def _udev(root: Path, entry: str) -> dict[str, str]:
    with suppress(OSError):
        number = (root / "sys/class/block" / entry / "dev").read_text().strip()
        lines = _lines(root / "run/udev/data" / f"b{number}")
        return dict(line[2:].split("=", 1) for line in lines if line.startswith("E:"))
    return {}


def _size(root: Path, entry: str) -> int:
    """In bytes; 0 when it cannot be told."""
    with suppress(OSError, ValueError):
        return int((root / "sys/class/block" / entry / "size").read_text()) * SECTOR
    return 0


def _free(mounted: dict[str, str], root: Path) -> Iterator[FreeSpace]:
    """Of file systems on real devices; those of a network may hang."""
    for source, directory in sorted(mounted.items(), key=lambda item: item[1]):
        if source.startswith("/dev/"):
            with suppress(OSError):
                found = os.statvfs(root / directory.lstrip("/"))
                yield FreeSpace(directory=directory, free=found.f_bavail * found.f_frsize)


def _entries(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
