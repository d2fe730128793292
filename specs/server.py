"""Kind Server: one machine, its addresses and how the others can switch it off."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from specs.document import Document, Model
from specs.scalars import Address, Duration, Name, impact


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
        description="After a confirmed fence: switch the server on once, or leave it off. One that "
        "an operator had fenced is left off.",
        json_schema_extra=impact("none", example="on"),
    )


def _whole_seconds(seconds: float) -> float:
    if seconds != int(seconds):
        raise ValueError("a watchdog counts whole seconds: write 1s, 2s, ...")
    return seconds


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"'{path}' is not an absolute path")
    return path


class WatchdogSpec(Model):
    """The device that resets this server when nobody feeds it.

    Once armed it stays so until the next boot, also when it is removed from the spec."""

    device: Annotated[str, AfterValidator(_absolute)] = Field(
        default="/dev/watchdog",
        description="The watchdog's device, or the unix socket of a program that stands in for it.",
        json_schema_extra=impact("none", example="/dev/watchdog"),
    )
    timeout: Annotated[Duration, Field(ge=1, le=300), AfterValidator(_whole_seconds)] = Field(
        description="Time without feeding after which it resets the server (W), whole seconds. It "
        "must fit with `deadMan` into `sessionTTL`; the sum is checked.",
        json_schema_extra=impact("none", example="1s"),
    )
    stall: Annotated[Duration, Field(ge=5, le=3600)] | None = Field(
        default=None,
        description="Reset the server also when no ordinary process got to run for so long: the "
        "pulse has real-time priority and would go on feeding a machine that serves nobody.",
        json_schema_extra=impact("none", example="60s", default_text="not watched"),
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
    watchdog: WatchdogSpec | None = Field(
        default=None,
        description="The hardware watchdog that the pulse feeds. It ends a server whose kernel or "
        "pulse hangs, or that cannot stop what it must not run.",
        json_schema_extra=impact("none", default_text="none: nobody resets a hanging server"),
    )


class Server(Document):
    """One machine of the cluster."""

    KIND: ClassVar[str] = "Server"

    kind: Literal["Server"] = Field(
        default="Server", description="Server.", json_schema_extra=impact("none")
    )
    spec: ServerSpec = Field(description="The machine.", json_schema_extra=impact("server"))
