"""Kind Server: one machine, its addresses and how the others can switch it off."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from specs.document import Document, Model
from specs.scalars import Address, Name, impact


class FencingSpec(Model):
    """How the other servers make sure that this one is off."""

    levels: tuple[dict[str, Any], ...] = Field(
        min_length=1,
        max_length=8,
        description="Fence devices, tried in this order; `type` chooses the device "
        "(`explain fence/TYPE` lists its fields).",
        json_schema_extra=impact(
            "none",
            example=[
                {
                    "type": "ipmi",
                    "address": "10.77.3.11",
                    "user": "admin",
                    "passwordFrom": {"file": "/etc/clusterctl/secrets/bmc"},
                }
            ],
        ),
    )
    after_fence: Literal["on", "stay-off"] = Field(
        default="on",
        description="After a confirmed fence: switch the server on once, or leave it off.",
        json_schema_extra=impact("none", example="on"),
    )


class ServerSpec(Model):
    """One machine."""

    addresses: dict[Name, Address] = Field(
        min_length=1,
        description="The server's own address in each network of the Cluster.",
        json_schema_extra=impact(
            "server", example={"private": "10.77.1.11", "public": "10.77.2.11"}
        ),
    )
    fencing: FencingSpec | None = Field(
        default=None,
        description="How to switch this server off. Without it the server cannot be fenced, and "
        "its groups stay blocked after its crash until a person confirms that it is off.",
        json_schema_extra=impact("none", default_text="none: the server cannot be fenced"),
    )


class Server(Document):
    """One machine of the cluster."""

    KIND: ClassVar[str] = "Server"

    kind: Literal["Server"] = Field(
        default="Server", description="Server.", json_schema_extra=impact("none")
    )
    spec: ServerSpec = Field(description="The machine.", json_schema_extra=impact("server"))
