"""A SCSI disk says that it is ready."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.program import Directory
from specs.scalars import Name, impact


class DiskTur(MonitorType):
    """SCSI TEST UNIT READY on every path of a disk (FC, iSCSI, SAS).

    This is a weak probe: nothing is read or written, so a disk with bad media is ready. It finds
    lost paths and a storage system that is gone, and it works on servers that don't own the disk.
    Use `disk` where the disk is mounted. A disk that takes no SCSI commands leaves the monitor
    unknown, which is neither good nor bad.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: data-paths}
    spec:
      type: disk-tur
      target: resource/data
      timing: always
      device: /dev/disk/by-id/wwn-0x6001405a3f1e22bd
      minimum: 2
      timeout: 20s
      recovery: {restarts: 0, failovers: 0}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("sdw", "hdtw")

    type: Literal["disk-tur"] = Field(
        default="disk-tur",
        description="Type of the monitor (aliases: sdw, hdtw).",
        json_schema_extra=impact("monitor", example="disk-tur"),
    )
    resource: Name | None = Field(
        default=None,
        description="Resource whose device is asked. Exactly one of `resource` and `device`.",
        json_schema_extra=impact("monitor", example="data"),
    )
    device: Directory | None = Field(
        default=None,
        description="Disk that is asked; of a multipath device all paths are.",
        json_schema_extra=impact("monitor", example="/dev/disk/by-id/wwn-0x6001405a3f1e22bd"),
    )
    minimum: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="Paths that must be ready.",
        json_schema_extra=impact("monitor", example=2),
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.resource is None) == (self.device is None):
            raise ValueError("give either resource or device")
        return self

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),) if self.resource else ()

    async def sample(self, site: Site) -> Sample:
        found = site.resources.get(self.resource or "")
        device = self.device or (getattr(found.spec, "device", None) if found else None)
        if device is None:
            raise ProbeUnavailable(f"resource {self.resource} has no device")
        settings = {"action": "ready", "path": device, "minimum": self.minimum}
        return await site.probes.run("disk", settings, self.timeout)
