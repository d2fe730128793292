"""Every way to the other side of a mirrored disk works."""

import asyncio
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.monitors._mirror import MirrorMonitor
from reconciler.plugin import Site
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.scalars import impact


class MirrorConnect(MirrorMonitor):
    """ICMP echoes to each address of the other side of a `mirror-disk` or `hybrid-disk`.

    Also to those that are not in use: else a lost second way is found when the first one is lost.

    A warning as long as one way is left; when none is, `broken` says what it is. The other side of
    a hybrid disk has the addresses of all servers of the other server group; with `timing: always`
    servers that are not the current ones are healthy, and say so.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: data-connect}
    spec:
      type: mirror-connect
      target: resource/data
      resource: data
      interval: 10s
      timeout: 2s
      recovery: {restarts: 0, failovers: 0}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("mdnw", "hdnw")

    type: Literal["mirror-connect"] = Field(
        default="mirror-connect",
        description="Type of the monitor (aliases: mdnw, hdnw).",
        json_schema_extra=impact("monitor", example="mirror-connect"),
    )

    def resource_types(self) -> tuple[str, ...]:
        return ("mirror-disk", "hybrid-disk")

    async def sample(self, site: Site) -> Sample:
        view = await self.engine(site)
        if view is None and self.timing == "always" and self._is_shared(site):
            return Sample(True, "this is not the current server of its server group")
        addresses = [str(one) for one in view.details.get("peers", ())] if view else []
        if not addresses:
            raise ProbeUnavailable(f"no engine here tells the ways of {self.resource}")
        found = await asyncio.gather(*(self._echo(site, address) for address in addresses))
        if any(sample.healthy is None for sample in found):
            return next(sample for sample in found if sample.healthy is None)
        silent = [a for a, sample in zip(addresses, found, strict=True) if not sample.healthy]
        if not silent:
            return Sample(True, f"{len(addresses)} of {len(addresses)} ways answer")
        text = f"no answer from {', '.join(silent)}"
        if len(silent) < len(addresses):
            return Sample(True, text, warning=True)
        return self.bad(text)

    def _is_shared(self, site: Site) -> bool:
        found = site.resources.get(self.resource)
        return found is not None and bool(found.spec.mirrored_groups())

    async def _echo(self, site: Site, address: str) -> Sample:
        settings = {"addresses": [address], "need": "all"}
        return await site.probes.run("ping", settings, self.timeout)
