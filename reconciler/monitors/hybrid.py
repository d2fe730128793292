"""A hybrid disk has its two copies."""

from typing import ClassVar, Literal

from pydantic import Field

from reconciler.monitors._mirror import PairMonitor
from reconciler.plugin import Site
from reconciler.ports.probes import Sample
from specs.scalars import impact


class Hybrid(PairMonitor):
    """The state of a `hybrid-disk`, as `mirror` tells that of a `mirror-disk`.

    Only the current server of each server group has an engine. With `timing: always` every other
    server is healthy, and says that it is not the current one.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: data-mirror}
    spec:
      type: hybrid
      target: resource/data
      resource: data
      interval: 10s
      recovery: {restarts: 0, failovers: 0}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("hdw",)

    type: Literal["hybrid"] = Field(
        default="hybrid",
        description="Type of the monitor (alias: hdw).",
        json_schema_extra=impact("monitor", example="hybrid"),
    )

    def resource_types(self) -> tuple[str, ...]:
        return ("hybrid-disk",)

    async def sample(self, site: Site) -> Sample:
        view = await self.engine(site)
        if view is not None:
            return await self.pair(site, view)
        if self.timing == "always":
            return Sample(True, "this is not the current server of its server group")
        return Sample(False, "its engine does not run here")
