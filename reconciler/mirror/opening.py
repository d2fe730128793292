"""Opens one side's disk at the start of its engine: data, and metadata that fits it.

Metadata is made only where nothing is. On a disk that several servers see it lies in front of the
data, so that nobody takes the disk for a plain file system.
"""

import secrets

from reconciler.mirror.blockfile import OsBlockFile
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata, MetadataDamaged
from reconciler.mirror.settings import SHARED_METADATA, Settings
from reconciler.mirror.side import Disk


class DiskUnusable(ValueError):
    """The engine cannot start with it; one sentence."""


def open_disk(settings: Settings) -> Disk:
    """Data and metadata of this side, made when they are not there. Raises `DiskUnusable`."""
    needed = Geometry().file_size(settings.size)
    try:
        if settings.shared:
            file, data = OsBlockFile.split(settings.data, SHARED_METADATA)
        else:
            data = OsBlockFile.open(settings.data, settings.size)
            file = OsBlockFile.open(settings.metadata, needed)
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


def _metadata(settings: Settings, file: OsBlockFile) -> Metadata:
    try:
        return Metadata.open(file)
    except MetadataDamaged as error:
        if not file.is_blank():
            raise DiskUnusable(f"{settings.metadata}: {error}") from None
        header = Header(settings.resource, settings.size, secrets.token_hex(8))
        return Metadata.format(file, header)
