"""Heartbeat paths that are no networks: shared disks and serial lines; part of kind Cluster."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from specs.document import Model
from specs.scalars import Duration, Name, impact

BITS_PER_HEARTBEAT = 5000
"""About 400 bytes with escapes, ten bits to a byte on the line."""
_DISK_FACTOR = 5
"""A disk shares its queue with others, and is looked at in turns."""
_UNSTABLE = re.compile(r"/dev/(sd|vd|xvd|nvme|dm-)[^/]*")


def _device(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    return path


def is_unstable(device: str) -> bool:
    """A kernel name that may be another disk after the next boot."""
    return _UNSTABLE.fullmatch(device) is not None


class HeartbeatPathSpec(Model):
    """One path beside the networks. A server is silent only when it is silent on every path, so a
    slow path makes the detection of a crash as slow as it is."""

    name: Name = Field(
        description="Name of the path; no network has the same.",
        json_schema_extra=impact("none", example="quorum-disk"),
    )
    type: Literal["disk", "serial"] = Field(
        description="disk: a device that all these servers share, prepared with `clusterctl disk "
        "prepare`; serial: a line between two servers.",
        json_schema_extra=impact("none", example="disk"),
    )
    devices: dict[Name, Annotated[str, AfterValidator(_device)]] = Field(
        min_length=2,
        max_length=32,
        description="The device on each server. Of a disk, the order gives each server its slot: "
        "append new servers at the end.",
        json_schema_extra=impact(
            "none", example={"n1": "/dev/disk/by-id/wwn-0x5", "n2": "/dev/disk/by-id/wwn-0x5"}
        ),
    )
    interval: Annotated[Duration, Field(ge=0.005, le=10)] | None = Field(
        default=None,
        description="Time between two heartbeats on this path, at least `heartbeatInterval`.",
        json_schema_extra=impact(
            "none", example="200ms", default_text="heartbeatInterval; of a disk five times that"
        ),
    )
    mailbox: Annotated[Duration, Field(ge=0.2, le=60)] | None = Field(
        default=None,
        description="Of a disk: makes it a mailbox for poison pills (fence type poison-pill), too. "
        "A server with an armed watchdog that could not read its own for so long is ended by it: "
        "the disk becomes a part that every such server needs.",
        json_schema_extra=impact("none", example="2s", default_text="no mailbox"),
    )
    speed: Literal[9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600] = Field(
        default=115200,
        description="Of a serial line, in baud.",
        json_schema_extra=impact("none", example=115200),
    )

    def every(self, heartbeat_interval: float) -> float:
        """Seconds between two heartbeats on this path."""
        usual = heartbeat_interval * (_DISK_FACTOR if self.type == "disk" else 1)
        return max(heartbeat_interval, self.interval or usual)

    @model_validator(mode="after")
    def _two_ends(self) -> Self:
        if self.type == "serial" and len(self.devices) != 2:
            raise ValueError("a serial line joins exactly two servers")
        return self
