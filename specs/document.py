"""The envelope that all kinds share, and the base of every closed model.

Used by the kind modules here, by resource and fence types, and by the agent's configuration.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from specs.scalars import Name, impact

API_VERSION = "clusterctl/v1"


class Model(BaseModel):
    """Closed and frozen; camelCase in YAML and JSON, snake_case in Python."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=False,
    )

    def to_json(self) -> dict[str, Any]:
        """As a user would write it, with every default filled in."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _label_key(key: str) -> str:
    if not key or len(key) > 253 or key != key.strip() or not key.isprintable():
        raise ValueError(f"{key[:60]!r} is not a label key: 1 to 253 printable characters")
    return key


LabelKey = Annotated[str, AfterValidator(_label_key)]


class Metadata(Model):
    """Who the object is."""

    name: Name = Field(
        description="Name of the object, unique within its kind.",
        json_schema_extra=impact("server", example="web"),
    )
    labels: dict[LabelKey, str] = Field(
        default_factory=dict,
        description="Short texts to select objects by.",
        json_schema_extra=impact("none", example={"tier": "front"}),
    )
    annotations: dict[LabelKey, str] = Field(
        default_factory=dict,
        description="Free texts for people and tools; the cluster never reads them.",
        json_schema_extra=impact("none", example={"owner": "web team"}),
    )


class Document(Model):
    """One object: `apiVersion`, `kind`, `metadata`, `spec`. The kinds add `kind` and `spec`."""

    KIND: ClassVar[str]

    api_version: Literal["clusterctl/v1"] = Field(
        default="clusterctl/v1",
        description="Version of the format.",
        json_schema_extra=impact("none", example=API_VERSION),
    )
    kind: str = Field(description="Kind of the object.", json_schema_extra=impact("none"))
    metadata: Metadata = Field(
        description="Name, labels and annotations.", json_schema_extra=impact("none")
    )
