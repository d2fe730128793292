"""Fields that disks with a file system have in common: bases of the types that have them."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from reconciler.plugin import ResourceType
from specs.resource import Mirror
from specs.scalars import ByteSize, Duration, Name, Port, impact

_STABLE = re.compile(r"^/dev/(disk/by-[a-z]+/.|mapper/.|[^/]+/.)")
_CHANGING = re.compile(r"^/dev/(mapper/mpath[a-z]+$|(disk/by-(path|diskseq)|block|char|shm|pts)/)")
_OPTIONS = re.compile(r"^[^\s\0]*$")
SECTOR = 4096


def _path(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or "\0" in text or ".." in PurePosixPath(text).parts:
        raise ValueError(f"{text!r} is not an absolute path")
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
DiskSize = Annotated[ByteSize, Field(ge=16 << 20), AfterValidator(_whole_sectors)]


def is_stable(device: str) -> bool:
    """Whether the name means the same disk after a restart, and on every server."""
    return bool(_STABLE.match(device)) and not _CHANGING.match(device)


class MountedDisk(ResourceType):
    """What every disk with a file system says about its mount."""

    mount_options: Annotated[str, AfterValidator(_options)] = Field(
        default="",
        description="Options of the mount.",
        json_schema_extra=impact("resource", example="noatime"),
    )
    unmount_grace: Annotated[Duration, Field(ge=0, le=600)] = Field(
        default=5.0,
        description="Time for programs that still use the disk to end before they are killed.",
        json_schema_extra=impact("none", example="5s"),
    )


class MirroredDisk(MountedDisk):
    """What every mirrored disk says about its file system and about the mirror."""

    mount_point: AbsolutePath = Field(
        description="Directory that the file system is mounted on.",
        json_schema_extra=impact("resource", example="/srv/data"),
    )
    file_system: Literal["ext4", "xfs", "btrfs"] = Field(
        default="ext4",
        description="Kind of the file system.",
        json_schema_extra=impact("resource", example="ext4"),
    )
    format_consent: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Any word: the file system may be made at the first start ever, if blank.",
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

    def mirror(self) -> Mirror:
        return Mirror(self.port, self.networks, self.mode == "async", self.queue_limit)
