"""Kind Group: resources that always run together on one server, and where they may run."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from specs.document import Document, Model
from specs.scalars import Duration, impact
from specs.server_group import NameList, listed_once

ProofName = Literal["released", "fenced", "expired", "confirmed", "none"]


class FailoverSpec(Model):
    """When and where to the group moves by itself."""

    mode: Literal["auto", "dynamic", "manual"] = Field(
        default="auto",
        description="auto: fail over without being asked, in the order of the list; dynamic: to "
        "the server that is best off, by its monitors and by how many groups it runs; manual: wait "
        "for an operator.",
        json_schema_extra=impact("none", example="auto"),
    )
    choice: Literal["stable", "priority"] = Field(
        default="stable",
        description="stable: avoid servers where this group failed recently or one of its "
        "monitors is faulty; priority: always the first healthy server of the list.",
        json_schema_extra=impact("none", example="stable"),
    )
    across_server_groups: Literal["any", "prefer-same", "forbid"] = Field(
        default="prefer-same",
        description="Whether a failover may leave the owner's server group.",
        json_schema_extra=impact("none", example="prefer-same"),
    )
    max_failures: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Failures of the group within `window` after which it is left to an operator.",
        json_schema_extra=impact("none", example=3),
    )
    window: Annotated[Duration, Field(ge=1)] = Field(
        default=3600.0,
        description="Time after which a failure no longer counts.",
        json_schema_extra=impact("none", example="1h"),
    )


class RestartsSpec(Model):
    """Restarts in place of a resource that died by itself."""

    max: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Restarts on the same server within `window` before the group fails over.",
        json_schema_extra=impact("none", example=3),
    )
    window: Annotated[Duration, Field(ge=1)] = Field(
        default=3600.0,
        description="Time after which a restart no longer counts.",
        json_schema_extra=impact("none", example="1h"),
    )


class GroupSpec(Model):
    """Where the group may run and what happens when it fails."""

    servers: NameList | None = Field(
        default=None,
        min_length=1,
        description="Servers that may run the group, the preferred ones first. Exactly one of "
        "`servers` and `serverGroups`, or neither for all servers by name.",
        json_schema_extra=impact(
            "group", example=["n1", "n2"], default_text="all servers, by name"
        ),
    )
    server_groups: NameList | None = Field(
        default=None,
        min_length=1,
        description="Server groups that may run the group, the preferred ones first.",
        json_schema_extra=impact("group", example=["left", "right"]),
    )
    startup: Literal["auto", "manual"] = Field(
        default="auto",
        description="auto: start with the cluster; manual: wait for `start group/NAME`.",
        json_schema_extra=impact("none", example="auto"),
    )
    failover: FailoverSpec = Field(
        default_factory=FailoverSpec,
        description="When and where to the group moves by itself.",
        json_schema_extra=impact("none"),
    )
    exclusion: Literal["none", "prefer", "require"] = Field(
        default="none",
        description="prefer: choose a server without another exclusive group (prefer or require), "
        "if there is one; require: never share a server with another group that requires it.",
        json_schema_extra=impact("none", example="prefer"),
    )
    failback: Literal["manual", "auto"] = Field(
        default="manual",
        description="auto: go back to the most preferred healthy server.",
        json_schema_extra=impact("none", example="manual"),
    )
    on_store_loss: Literal["keep", "stop"] = Field(
        default="keep",
        description="When the store is lost. keep: the group runs on while its server hears a "
        "majority of the servers; stop: it is stopped before `deadMan` is over, whoever is heard.",
        json_schema_extra=impact("none", example="keep"),
    )
    proofs: Annotated[tuple[ProofName, ...], AfterValidator(listed_once)] = Field(
        default=("released", "fenced", "confirmed"),
        min_length=1,
        description="Proofs that the old owner has stopped which allow a takeover. `expired` "
        "(time alone) needs `onStoreLoss: stop` and a watchdog on the servers. `none` gives the "
        "promise up: an owner that fell silent, lost its session and cannot be fenced is replaced "
        "unproven, and the group may run twice.",
        json_schema_extra=impact("none", example=["released", "fenced", "confirmed"]),
    )
    final_action: Literal["none", "stop-group", "power-off-server", "reboot-server"] = Field(
        default="none",
        description="What to do after `failover.maxFailures`. power-off-server and reboot-server "
        "concern the server where it failed last: its other groups move away first, for at most "
        "20 s. It is done within the Cluster's `rebootLimit`, and only while the other servers are "
        "a majority.",
        json_schema_extra=impact("none", example="none"),
    )
    activation_retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Extra tries of a failing resource start on the same server.",
        json_schema_extra=impact("none", example=0),
    )
    deactivation_retries: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Extra tries of a failing resource stop; after them the server fences itself.",
        json_schema_extra=impact("none", example=0),
    )
    restarts: RestartsSpec = Field(
        default_factory=RestartsSpec,
        description="Restarts in place of a resource that died by itself.",
        json_schema_extra=impact("none"),
    )

    @model_validator(mode="after")
    def _one_way_to_name_servers(self) -> Self:
        if self.servers is not None and self.server_groups is not None:
            raise ValueError("give either servers or serverGroups, not both")
        return self


class Group(Document):
    """Resources that always run together on one server."""

    KIND: ClassVar[str] = "Group"

    kind: Literal["Group"] = Field(
        default="Group", description="Group.", json_schema_extra=impact("none")
    )
    spec: GroupSpec = Field(
        default_factory=GroupSpec,
        description="Where the group may run and what happens when it fails.",
        json_schema_extra=impact("group"),
    )
