"""A mirrored disk has its two copies."""

from typing import ClassVar, Literal

from pydantic import Field

from reconciler.monitors._mirror import PairMonitor
from reconciler.plugin import Site
from reconciler.ports.probes import Sample
from specs.scalars import impact


class Mirror(PairMonitor):
    """The state of a `mirror-disk`, as the engine on this server knows it.

    Healthy: both sides have everything. A warning: the other side is being copied to, or is away
    (with `broken: fault` that is a fault). A fault in any case: this side failed, or writes wait
    for the store. The mirror recovers by itself: it dials the other side for ever and copies what
    differs. After a split brain it does not; `clusterctl mirror` tells what can be done. What only
    a comparison found is copied with `repair: checksum`. A recovery script can do more.

    With `timing: always` the following side is looked at, too.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: data-mirror}
    spec:
      type: mirror
      target: resource/data
      resource: data
      interval: 10s
      recovery: {restarts: 0, failovers: 0}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("mdw",)

    type: Literal["mirror"] = Field(
        default="mirror",
        description="Type of the monitor (alias: mdw).",
        json_schema_extra=impact("monitor", example="mirror"),
    )

    def resource_types(self) -> tuple[str, ...]:
        return ("mirror-disk",)

    async def sample(self, site: Site) -> Sample:
        view = await self.engine(site)
        if view is None:
            return Sample(False, "its engine does not run here")
        return await self.pair(site, view)
