"""Two small types that stand in for the installed ones."""

from typing import Literal

from pydantic import BaseModel, Field

from specs.catalogue import TypeFamily
from specs.document import Model
from specs.monitor import MonitorSpec
from specs.resource import ResourceSpec
from specs.scalars import Duration, InterfaceAddress, Port, impact


class FloatingIp(ResourceSpec):
    """An address that follows the group."""

    type: Literal["floating-ip"] = Field(description="Type.", json_schema_extra=impact("resource"))
    address: InterfaceAddress = Field(
        description="The address.", json_schema_extra=impact("resource", example="10.77.2.100/24")
    )
    interface: str | None = Field(
        default=None, description="Interface.", json_schema_extra=impact("resource")
    )

    def addresses(self) -> tuple[str, ...]:
        return (self.address.partition("/")[0],)


class Application(ResourceSpec):
    """A program."""

    type: Literal["application"] = Field(description="Type.", json_schema_extra=impact("resource"))
    command: tuple[str, ...] = Field(
        min_length=1, description="What to run.", json_schema_extra=impact("resource")
    )


class Secret(Model):
    file: str = Field(description="File.", json_schema_extra=impact("none"))


class Ipmi(Model):
    """Power through a BMC."""

    type: Literal["ipmi"] = Field(description="Type.", json_schema_extra=impact("none"))
    address: str = Field(description="Address of the BMC.", json_schema_extra=impact("none"))
    port: Port = Field(default=623, description="UDP port.", json_schema_extra=impact("none"))
    password_from: Secret | None = Field(
        default=None, description="Where the password is.", json_schema_extra=impact("none")
    )
    timeout: Duration = Field(
        default=5.0, description="Bound of a call.", json_schema_extra=impact("none")
    )


class Catalogue:
    """specs.load.TypeCatalogue over the types above."""

    resources: dict[str, type[ResourceSpec]] = {  # noqa: RUF012
        "floating-ip": FloatingIp,
        "fip": FloatingIp,
        "application": Application,
    }

    def resource_model(self, type_or_alias: str) -> type[ResourceSpec] | None:
        return self.resources.get(type_or_alias)

    def monitor_model(self, type_or_alias: str) -> type[MonitorSpec] | None:
        return None

    def fence_model(self, type_or_alias: str) -> type[BaseModel] | None:
        return Ipmi if type_or_alias == "ipmi" else None

    def names(self, kind: TypeFamily) -> tuple[str, ...]:
        return {"resource": ("application", "floating-ip"), "monitor": (), "fence": ("ipmi",)}[kind]
