"""Fields that disks with a file system have in common: bases of the types that have them."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.plugin import ResourceType
from reconciler.ports.volumes import FileSystem
from reconciler.resources._file_systems import DiskVolume
from specs.document import Model
from specs.resource import Mirror, Use
from specs.scalars import ByteSize, Duration, Name, Port, impact
from specs.volume_layout import Extent, layout, needed

_STABLE = re.compile(r"^/dev/(disk/by-[a-z]+/.|mapper/.|[^/]+/.)")
_CHANGING = re.compile(r"^/dev/(mapper/mpath[a-z]+$|(disk/by-(path|diskseq)|block|char|shm|pts)/)")
_OPTIONS = re.compile(r"^[^\s\0]*$")
_NO_FILES = {"dev", "proc", "sys"}
_SYSTEM_FOLDERS = {"bin", "boot", "etc", "lib", "lib64", "root", "run", "sbin", "usr", "var"}
_SYSTEM = {"/etc/clusterctl", "/run/clusterctl", "/var/lib/clusterctl"}
"""What a mount would hide from all programs, the agent's own files among it."""

SECTOR = 4096


def _path(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or "\0" in text or ".." in PurePosixPath(text).parts:
        raise ValueError(f"{text!r} is not an absolute path")
    return "/" + str(PurePosixPath(text)).lstrip("/")


def _mount_point(text: str) -> str:
    parts = PurePosixPath(text).parts[1:]
    whole = text in _SYSTEM or (len(parts) == 1 and parts[0] in _SYSTEM_FOLDERS)
    if not parts or whole or parts[0] in _NO_FILES:
        raise ValueError(f"{text} is the system's own: choose another directory")
    return text


def _options(text: str) -> str:
    if not _OPTIONS.match(text):
        raise ValueError("write mount options with commas and without spaces")
    return text


def _whole_sectors(size: int) -> int:
    if size % SECTOR:
        raise ValueError(f"the size must be a multiple of {SECTOR} bytes")
    return size


AbsolutePath = Annotated[str, AfterValidator(_path)]
MountPoint = Annotated[AbsolutePath, AfterValidator(_mount_point)]
DiskSize = Annotated[ByteSize, Field(ge=16 << 20), AfterValidator(_whole_sectors)]
MountOptions = Annotated[str, AfterValidator(_options)]
FileSystemKind = Literal["ext4", "xfs", "btrfs"]


def is_stable(device: str) -> bool:
    """Whether the name means the same disk after a restart, and on every server."""
    return bool(_STABLE.match(device)) and not _CHANGING.match(device)


class MountedDisk(ResourceType):
    """What every disk with a file system says about its mount."""

    mount_options: MountOptions = Field(
        default="",
        description="Options of the mount.",
        json_schema_extra=impact("resource", example="noatime"),
    )
    unmount_grace: Annotated[Duration, Field(ge=0, le=600)] = Field(
        default=5.0,
        description="Time for programs that still use the disk to end before they are killed.",
        json_schema_extra=impact("none", example="5s"),
    )


class Volume(Model):
    """One of several parts of a mirrored disk, each with a file system of its own."""

    name: Name = Field(
        description="Name of the volume, unique on its disk; it stays.",
        json_schema_extra=impact("resource", example="wal"),
    )
    size: DiskSize = Field(
        description="Bytes of the volume. Only the last one can grow, and none can shrink.",
        json_schema_extra=impact("none", example="2GiB"),
    )
    mount_point: MountPoint = Field(
        description="Directory that the volume is mounted on; it may lie on another volume.",
        json_schema_extra=impact("resource", example="/srv/db/wal"),
    )
    file_system: FileSystemKind | None = Field(
        default=None,
        description="Kind of its file system.",
        json_schema_extra=impact("resource", example="xfs", default_text="that of the disk"),
    )
    mount_options: MountOptions | None = Field(
        default=None,
        description="Options of its mount.",
        json_schema_extra=impact("resource", example="noatime", default_text="those of the disk"),
    )
    check: Literal["never", "always"] | None = Field(
        default=None,
        description="Whether it is checked before each mount.",
        json_schema_extra=impact("none", example="always", default_text="as the disk"),
    )


class MirroredDisk(MountedDisk):
    """What every mirrored disk says about its file systems and about the mirror."""

    size: DiskSize | None = Field(
        default=None,
        description="Bytes of the disk, equal on both sides. A larger one is grown to while it is "
        "used, with its file system; it never shrinks.",
        json_schema_extra=impact("none", example="256MiB", default_text="what the volumes need"),
    )
    mount_point: MountPoint | None = Field(
        default=None,
        description="Directory that the file system is mounted on.",
        json_schema_extra=impact(
            "resource", example="/srv/data", default_text="`volumes` are given"
        ),
    )
    volumes: Annotated[tuple[Volume, ...], Field(max_length=64)] = Field(
        default=(),
        description="Instead of one file system on the whole disk: volumes that lie on it one "
        "behind the other, each from a whole MiB on, and are mirrored in one order. After a "
        "failover they are of the same moment, also with `mode: async`. They keep their order; "
        "new ones come last.",
        json_schema_extra=impact(
            "resource",
            example=[
                {"name": "data", "size": "10GiB", "mountPoint": "/srv/db/data"},
                {"name": "wal", "size": "2GiB", "mountPoint": "/srv/db/wal"},
            ],
            default_text="one file system, mounted on `mountPoint`",
        ),
    )
    file_system: FileSystemKind = Field(
        default="ext4",
        description="Kind of the file system.",
        json_schema_extra=impact("resource", example="ext4"),
    )
    format_consent: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="Any word: the file system may be made at the first start ever, if blank. With "
        "`volumes` one that is blank later (because it was added) may be made too, with a word "
        "that was never used.",
        json_schema_extra=impact("none", example="first-build", default_text="never"),
    )
    check: Literal["never", "always"] = Field(
        default="always",
        description="Whether the file system is checked before each mount.",
        json_schema_extra=impact("none", example="always"),
    )
    mode: Literal["sync", "async"] = Field(
        default="sync",
        description="Whether a write waits for the other side.",
        json_schema_extra=impact("resource", example="sync"),
    )
    port: Port = Field(
        default=7788,
        description="TCP port of the mirror on its servers; each mirror needs its own.",
        json_schema_extra=impact("resource", example=7788),
    )
    networks: tuple[Name, ...] = Field(
        default=(),
        description="Networks that carry the mirror, best first.",
        json_schema_extra=impact(
            "resource", example=["private"], default_text="those of its servers, by name"
        ),
    )
    peer_timeout: Annotated[Duration, Field(ge=0.2, le=60)] = Field(
        default=2.0,
        description="A side that is silent for longer is left behind; writes wait as long, once.",
        json_schema_extra=impact("resource", example="2s"),
    )
    copy_limit: ByteSize = Field(
        default=0,
        description="Bytes a second that the background copy may use; 0 is no limit.",
        json_schema_extra=impact("resource", example="50MiB"),
    )
    queue_limit: Annotated[ByteSize, Field(ge=1 << 20)] = Field(
        default=256 << 20,
        description="Bytes by which an asynchronous mirror may be behind before it falls back to "
        "copying differences.",
        json_schema_extra=impact("resource", example="256MiB"),
    )
    encryption: Literal["none", "tls"] = Field(
        default="none",
        description="Whether the connection is encrypted, with the cluster's certificates.",
        json_schema_extra=impact("resource", example="none"),
    )
    compression: Literal["none", "zlib"] = Field(
        default="none",
        description="Whether copied blocks, and all writes of an asynchronous mirror, are "
        "compressed: for networks slower than some 50 MiB a second.",
        json_schema_extra=impact("resource", example="none"),
    )

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if bool(self.volumes) == (self.mount_point is not None):
            raise ValueError("give either mountPoint, for the whole disk, or volumes")
        if self.size is None and not self.volumes:
            raise ValueError("give the size of the disk")
        return self

    @property
    def disk_size(self) -> int:
        """Bytes of the whole disk, given or following from the volumes."""
        return self.size if self.size is not None else needed(self._extents())

    def _extents(self) -> tuple[Extent, ...]:
        if self.volumes:
            return layout((volume.name, volume.size) for volume in self.volumes)
        return layout([("", self.size or 0)])

    def disk_volumes(self) -> tuple[DiskVolume, ...]:
        """What is mounted where. One without a name when the disk is not divided."""
        if not self.volumes:
            system = FileSystem(self.file_system, self.mount_options, self.check)
            return (DiskVolume(self._extents()[0], self.mount_point or "", system),)
        return tuple(
            DiskVolume(extent, volume.mount_point, self._system_of(volume))
            for extent, volume in zip(self._extents(), self.volumes, strict=True)
        )

    def _system_of(self, volume: Volume) -> FileSystem:
        options = self.mount_options if volume.mount_options is None else volume.mount_options
        return FileSystem(
            volume.file_system or self.file_system, options, volume.check or self.check
        )

    def mount_uses(self) -> tuple[Use, ...]:
        """The directories, as `uses` names them."""
        if self.mount_point is not None:
            return (Use("mountPoint", self.mount_point),)
        return tuple(
            Use("volumes", volume.mount_point, below=(number, "mountPoint"))
            for number, volume in enumerate(self.volumes)
        )

    def mirror(self) -> Mirror:
        return Mirror(
            self.port,
            self.networks,
            self.mode == "async",
            self.queue_limit,
            size=self.disk_size,
            volumes=self._extents(),
        )
