"""Kind ServerGroup: servers that belong together, such as one site or one rack."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from specs.document import Document, Model
from specs.scalars import Name, impact


def listed_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a list that names something twice. Raises ValueError."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} is listed twice")
        seen.add(name)
    return names


NameList = Annotated[tuple[Name, ...], AfterValidator(listed_once)]


class ServerGroupSpec(Model):
    """Which servers."""

    servers: NameList = Field(
        min_length=1,
        description="Servers of the group, the preferred ones first.",
        json_schema_extra=impact("group", example=["n1", "n2"]),
    )


class ServerGroup(Document):
    """Servers that belong together."""

    KIND: ClassVar[str] = "ServerGroup"

    kind: Literal["ServerGroup"] = Field(
        default="ServerGroup", description="ServerGroup.", json_schema_extra=impact("none")
    )
    spec: ServerGroupSpec = Field(description="Which servers.", json_schema_extra=impact("group"))
