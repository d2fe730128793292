"""Kind Monitor: a periodic check of a resource, group or server. Types add their own fields."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny

from specs.document import Document, Model
from specs.scalars import Duration, impact, parse_name

TARGET_KINDS = ("group", "resource", "server")


def _target(text: str) -> str:
    kind, slash, name = text.partition("/")
    if text == "all-groups":
        return text
    if not slash or kind not in TARGET_KINDS:
        raise ValueError(
            f"{text[:60]!r} is not a target: write group/NAME, resource/NAME, server/NAME "
            "or all-groups"
        )
    parse_name(name)
    return text


class MonitorSpec(Model):
    """Fields that every type of monitor has."""

    type: str = Field(
        description="Type of the monitor; it decides the other fields.",
        json_schema_extra=impact("monitor", example="http"),
    )
    target: Annotated[str, AfterValidator(_target)] = Field(
        description="What is recovered when the monitor fails: group/NAME, resource/NAME, "
        "server/NAME or all-groups.",
        json_schema_extra=impact("monitor", example="group/web"),
    )
    interval: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=30.0,
        description="Time between two probes.",
        json_schema_extra=impact("monitor", example="30s"),
    )
    timeout: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=10.0,
        description="Time that one probe may take.",
        json_schema_extra=impact("monitor", example="10s"),
    )


class Monitor(Document):
    """A periodic check."""

    KIND: ClassVar[str] = "Monitor"

    kind: Literal["Monitor"] = Field(
        default="Monitor", description="Monitor.", json_schema_extra=impact("none")
    )
    spec: SerializeAsAny[MonitorSpec] = Field(
        description="Common fields and the type's own.", json_schema_extra=impact("monitor")
    )
