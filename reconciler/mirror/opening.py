"""Opens one side's disk at the start of its engine: data, and metadata that fits it.

Metadata is made only where nothing is, data only together with its metadata: data that is missing
later is on a disk that is away. On a disk that several servers see the metadata lies in front of
the data, so that nobody takes the disk for a plain file system.
"""

import errno
import os
import secrets
import stat
import time
from pathlib import Path

from reconciler.mirror.blockfile import OsBlockFile
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata, MetadataDamaged
from reconciler.mirror.settings import SHARED_METADATA, Settings
from reconciler.mirror.side import Disk

DEVICES = "/dev/"
"""A file that is made there lies in memory: writes to it would be acknowledged, and lost."""


CLAIM_TRIES, CLAIM_PAUSE_S = 20, 0.05
claims: list[int] = []
"""Descriptors that keep others off this engine's devices until it ends."""


class DiskUnusable(ValueError):
    """The engine cannot start with it; one sentence."""


def open_disk(settings: Settings) -> Disk:
    """Data and metadata of this side, made when they are not there. Raises `DiskUnusable`."""
    needed = Geometry().file_size(settings.size)
    try:
        if settings.shared:
            file, data = OsBlockFile.split(settings.data, SHARED_METADATA)
        else:
            _refuse_missing_devices(settings)
            file = OsBlockFile.open(settings.metadata, needed)
            _refuse_lost_data(settings, file)
            _claim(settings.data)
            data = OsBlockFile.open(settings.data, settings.size)
    except OSError as error:
        raise DiskUnusable(f"{error.filename or settings.data}: {error.strerror}") from None
    if settings.shared and (needed > SHARED_METADATA or data.size < settings.size):
        raise DiskUnusable(
            f"{settings.data} has {data.size} bytes behind {SHARED_METADATA} for the mirror "
            f"itself, {settings.size} are needed"
        )
    metadata = _metadata(settings, file)
    if metadata.header.resource != settings.resource:
        raise DiskUnusable(f"{settings.metadata} belongs to mirror {metadata.header.resource}")
    if data.size < metadata.header.size:
        raise DiskUnusable(
            f"{settings.data} has {data.size} bytes, its mirror {metadata.header.size}"
        )
    return Disk(data, metadata, settings.boot, file)


def room(settings: Settings) -> int:
    """Bytes that the device has for data now; 0 for a file, or when that cannot be told."""
    try:
        found = os.stat(settings.data)
        if not stat.S_ISBLK(found.st_mode):
            return 0
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        sectors = int(Path(f"/sys/dev/block/{number}/size").read_text())
    except (OSError, ValueError):
        return 0
    return max(0, sectors * 512 - (SHARED_METADATA if settings.shared else 0))


def _claim(path: str) -> None:
    """A device is this engine's alone as long as it lives: a file system that is mounted from it,
    swap or LVM would write beside the mirror. A predecessor lets go a moment later."""
    for _ in range(CLAIM_TRIES):
        try:
            if stat.S_ISBLK(os.stat(path).st_mode):
                claims.append(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            return
        except FileNotFoundError:
            return  # a file that is made now
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        time.sleep(CLAIM_PAUSE_S)
    raise DiskUnusable(f"{path} is in use on this server by something else")


def is_made(path: str) -> bool:
    """Whether a file is made at this path when none is there."""
    return not os.path.normpath(path).startswith(DEVICES)


def _refuse_missing_devices(settings: Settings) -> None:
    for path in (settings.data, settings.metadata):
        if not is_made(path) and not os.path.exists(path):
            raise DiskUnusable(f"{path} is not there")


def _refuse_lost_data(settings: Settings, file: OsBlockFile) -> None:
    """Zeros in its place would be served as what the metadata says of it."""
    try:
        built = Metadata.open(file).header.size
    except MetadataDamaged:
        return  # made together, or refused when it is looked at
    try:
        found = os.stat(settings.data)
    except FileNotFoundError:
        raise DiskUnusable(
            f"{settings.data} is not there, but its mirror was built: bring its disk back, or "
            f"remove {settings.metadata}, and everything is copied from the other side"
        ) from None
    if not stat.S_ISBLK(found.st_mode) and found.st_size < built:
        raise DiskUnusable(f"{settings.data} has {found.st_size} bytes, its mirror {built}")


def _metadata(settings: Settings, file: OsBlockFile) -> Metadata:
    try:
        return Metadata.open(file)
    except MetadataDamaged as error:
        if not file.is_blank():
            raise DiskUnusable(f"{settings.metadata}: {error}") from None
        header = Header(settings.resource, settings.size, secrets.token_hex(8))
        return Metadata.format(file, header)
