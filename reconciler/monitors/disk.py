"""A disk can be written and read in time."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.program import Directory
from specs.scalars import ByteSize, Name, impact

BLOCK = 4096


def _whole_blocks(size: int) -> int:
    if size % BLOCK:
        raise ValueError(f"the size must be a multiple of {BLOCK} bytes")
    return size


class Disk(MonitorType):
    """Writes a file and reads it back past the caches, or reads a device somewhere.

    With `resource` the file is on the mounted disk of that resource; without a mount there the
    probe has failed. The I/O is done by a process of its own: a disk that does not answer within
    `timeout` is a fault although that process can't be killed, and no second one is started until
    it ends. A server that hangs on its own system disk does not stop in order: let `finalAction`
    be `crash` or `power-off` there.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: data-disk}
    spec:
      type: disk
      target: group/web
      resource: data
      interval: 30s
      timeout: 20s
      recovery: {restarts: 0, failovers: 1}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("diskw",)

    type: Literal["disk"] = Field(
        default="disk",
        description="Type of the monitor (alias: diskw).",
        json_schema_extra=impact("monitor", example="disk"),
    )
    resource: Name | None = Field(
        default=None,
        description="Resource on whose mounted disk a file is written and read. Exactly one of "
        "`resource`, `file` and `device`.",
        json_schema_extra=impact("monitor", example="data"),
    )
    volume: Name | None = Field(
        default=None,
        description="Which of several volumes of the resource.",
        json_schema_extra=impact("monitor", example="wal", default_text="its first one"),
    )
    file: Directory | None = Field(
        default=None,
        description="File that is written and read, of the monitor only.",
        json_schema_extra=impact("monitor", example="/var/lib/clusterctl-probe"),
    )
    device: Directory | None = Field(
        default=None,
        description="Block device that is read.",
        json_schema_extra=impact("monitor", example="/dev/disk/by-id/wwn-0x6001405a3f1e22bd"),
    )
    size: Annotated[ByteSize, Field(ge=BLOCK, le=64 << 20), AfterValidator(_whole_blocks)] = Field(
        default=2 << 20,
        description="Bytes that are written and read.",
        json_schema_extra=impact("monitor", example="2MiB"),
    )
    when_full: Literal["fault", "ignore"] = Field(
        default="fault",
        description="Whether a full disk is a fault.",
        json_schema_extra=impact("monitor", example="fault"),
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(one is not None for one in (self.resource, self.file, self.device)) != 1:
            raise ValueError("give one of resource, file and device")
        if self.volume is not None and self.resource is None:
            raise ValueError("volume needs the resource that has it")
        return self

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),) if self.resource else ()

    def volumes(self) -> tuple[tuple[str, str, str], ...]:
        named = self.resource is not None and self.volume is not None
        return (("volume", self.resource or "", self.volume or ""),) if named else ()

    async def sample(self, site: Site) -> Sample:
        if self.device is not None:
            settings: dict[str, object] = {"action": "read", "path": self.device}
        elif self.file is not None:
            settings = {"action": "write", "path": self.file}
        else:
            mount = self._mount_point(site)
            path = f"{mount}/.clusterctl-{site.name}"
            settings = {"action": "write", "path": path, "mount": mount}
        more = {"bytes": self.size, "full_is_fault": self.when_full == "fault"}
        return await site.probes.run("disk", {**settings, **more}, self.timeout)

    def _mount_point(self, site: Site) -> str:
        found = site.resources.get(self.resource or "")
        mirror = found.spec.mirror() if found else None
        uses = found.spec.uses() if found else ()
        points = [use.name for use in uses if use.is_mount_point]
        if not points:
            raise ProbeUnavailable(f"resource {self.resource} mounts nothing")
        if self.volume is None:
            return points[0]
        names = [extent.name for extent in mirror.volumes] if mirror else []
        if self.volume not in names:
            raise ProbeUnavailable(f"resource {self.resource} has no volume {self.volume}")
        return points[names.index(self.volume)]
