"""Kind Resource: one thing that a group starts and stops. Types add their own fields.

`ResourceSpec` is the base of every resource type (`reconciler/resources/`).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, SerializeAsAny

from specs.document import Document, Model
from specs.scalars import Duration, Name, impact
from specs.server_group import NameList
from specs.volume_layout import Extent
from specs.yaml_text import Path

STANDBY_SUFFIX = "-standby"
"""Behind a name: that of what is derived for the side of a hybrid disk that follows."""


class Use(NamedTuple):
    """A disk or directory that one resource has for itself. `field` is where the spec names it, or
    has it further `below`; `shared`: it is the same thing on every server; `server`: the only one
    that has it, "" for all."""

    field: str
    name: str
    shared: bool = False
    below: Path = ()
    server: str = ""

    @property
    def path(self) -> Path:
        """Where in the object it stands."""
        return ("spec", self.field, *self.below)

    @property
    def is_mount_point(self) -> bool:
        """Whether it is a directory that the resource mounts something on."""
        return self.path[-1] == "mountPoint"


class Mirror(NamedTuple):
    """What the checks must know of a mirrored disk. Sizes in bytes. `two_servers`: each side is one
    server, with `device` or `file` ("": the other one) and `metadata`, the same on both, or each
    with one of the `devices`, pairs of server and device. A disk that is not divided is one of the
    `volumes`, without a name."""

    port: int
    networks: tuple[str, ...] = ()
    asynchronous: bool = False
    queue_limit: int = 0
    two_servers: bool = False
    size: int = 0
    device: str = ""
    file: str = ""
    metadata: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    volumes: tuple[Extent, ...] = ()

    def device_on(self, server: str) -> str:
        """ "" when it is a file."""
        return dict(self.devices).get(server, self.device)


class ResourceSpec(Model):
    """Fields that every type of resource has; a type is a subclass with a literal `type`."""

    group: Name = Field(
        description="Group that the resource belongs to.",
        json_schema_extra=impact("group", example="web"),
    )
    type: str = Field(
        description="Type of the resource; it decides the other fields.",
        json_schema_extra=impact("resource", example="floating-ip"),
    )
    depends_on: NameList | None = Field(
        default=None,
        description="Resources of the same group that must run first; replaces the order that "
        "follows from the types. An empty list: none.",
        json_schema_extra=impact(
            "none", example=["web-ip"], default_text="by type: addresses, disks, workloads"
        ),
    )
    start_timeout: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=30.0,
        description="Time that one start may take.",
        json_schema_extra=impact("none", example="30s"),
    )
    stop_timeout: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=30.0,
        description="Time that one stop may take; a stop that takes longer has failed.",
        json_schema_extra=impact("none", example="30s"),
    )

    drift_policy: Literal["correct", "report"] = Field(
        default="correct",
        description="What is done when somebody changed the resource by hand. correct: it is put "
        "right at once, which counts among the group's `restarts`; report: it is shown and left as "
        "it is until the group or its agent starts again. A resource that failed by itself is "
        "restarted either way.",
        json_schema_extra=impact("none", example="correct"),
    )

    @property
    def one_writer(self) -> bool:
        """Whether a second writer would damage its data, and nothing but a stop keeps it out."""
        return False

    def uses(self) -> tuple[Use, ...]:
        """Disks and directories that no other resource may use; types with any override it."""
        return ()

    def side_of(self, server: str, server_groups: Sequence[str]) -> str | None:  # noqa: ARG002
        """What `run/mirrors/<resource>` calls the side of a mirror that this server would serve;
        `server_groups` are those of the group that it is in. None: the data is not mirrored; types
        with a mirror override it."""
        return None

    def mirrored_groups(self) -> tuple[str, ...]:
        """Server groups between which the resource is mirrored, each with a disk that its servers
        share; a group that has it needs exactly these. Types with any override it."""
        return ()

    def shared_disk(self, side: str) -> str:  # noqa: ARG002
        """The disk that the servers of one of the `mirrored_groups` share; "" for every other
        name."""
        return ""

    def following(self, name: str) -> "ResourceSpec | None":  # noqa: ARG002
        """What a server of the other server group runs for this resource (named `name`), in a group
        of its own; see `decide.standby_side`. None: nothing; types with such a side override it."""
        return None

    def mirror(self) -> Mirror | None:
        """None: its data is not mirrored; types with a mirror override it."""
        return None

    def addresses(self) -> tuple[str, ...]:
        """Plain IP addresses that the resource makes reachable; types with any override it."""
        return ()


class Resource(Document):
    """One thing that a group starts and stops."""

    KIND: ClassVar[str] = "Resource"

    kind: Literal["Resource"] = Field(
        default="Resource", description="Resource.", json_schema_extra=impact("none")
    )
    spec: SerializeAsAny[ResourceSpec] = Field(
        description="Common fields and the type's own.", json_schema_extra=impact("resource")
    )
