"""Machines answer an ICMP echo."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import Sample
from specs.scalars import Address, impact


class Ping(MonitorType):
    """ICMP echoes to a list of addresses, all at once, two to each.

    It tells whether this server reaches its clients' network. It is never a proof of anything, and
    a network that is gone for all servers is no reason to move: list more than one address.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: web-gateway}
    spec:
      type: ping
      target: group/web
      addresses: [10.77.2.1, 10.77.2.254]
      interval: 10s
      timeout: 2s
      recovery: {restarts: 0, failovers: 1}
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("ipw",)

    type: Literal["ping"] = Field(
        default="ping",
        description="Type of the monitor (alias: ipw).",
        json_schema_extra=impact("monitor", example="ping"),
    )
    addresses: Annotated[tuple[Address, ...], Field(min_length=1, max_length=64)] = Field(
        description="Who is asked.",
        json_schema_extra=impact("monitor", example=["10.77.2.1", "10.77.2.254"]),
    )
    need: Literal["any", "all"] = Field(
        default="any",
        description="any: one answer is enough; all: everybody must answer.",
        json_schema_extra=impact("monitor", example="any"),
    )

    async def sample(self, site: Site) -> Sample:
        settings = {"addresses": list(self.addresses), "need": self.need}
        return await site.probes.run("ping", settings, self.timeout)
