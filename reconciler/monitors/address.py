"""A floating address is on this server."""

import ipaddress
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.scalars import Address as AddressText
from specs.scalars import Name, impact


class Address(MonitorType):
    """An address is on an interface of this server: that of a resource, or any other.

    The cluster repairs the addresses of its own resources by itself; this monitor is a second pair
    of eyes, and looks after addresses that something else configures.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: web-address-there}
    spec:
      type: address
      target: resource/web-address
      resource: web-address
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("fipw",)

    type: Literal["address"] = Field(
        default="address",
        description="Type of the monitor (alias: fipw).",
        json_schema_extra=impact("monitor", example="address"),
    )
    resource: Name | None = Field(
        default=None,
        description="Resource whose addresses are looked for. Exactly one of `resource` and "
        "`address`.",
        json_schema_extra=impact("monitor", example="web-address"),
    )
    address: AddressText | None = Field(
        default=None,
        description="Address that is looked for.",
        json_schema_extra=impact("monitor", example="10.77.2.100"),
    )

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.resource is None) == (self.address is None):
            raise ValueError("give either resource or address")
        return self

    def resources(self) -> tuple[tuple[str, str], ...]:
        return (("resource", self.resource),) if self.resource else ()

    async def sample(self, site: Site) -> Sample:
        wanted = (self.address,) if self.address else self._of_resource(site)
        held = {ipaddress.ip_address(one.address) for one in await site.host.network.addresses()}
        missing = [text for text in wanted if ipaddress.ip_address(text) not in held]
        if missing:
            return Sample(False, f"{', '.join(missing)} is on no interface of this server")
        return Sample(True, f"{', '.join(wanted)} is here")

    def _of_resource(self, site: Site) -> tuple[str, ...]:
        resource = site.resources.get(self.resource or "")
        addresses = resource.spec.addresses() if resource else ()
        if not addresses:
            raise ProbeUnavailable(f"resource {self.resource} has no address")
        return addresses
