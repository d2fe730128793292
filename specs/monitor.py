"""Kind Monitor: a periodic probe, and what is done when it fails. Types add their own fields.

`MonitorSpec` is the base of every monitor type (`reconciler/monitors/`); the ladder of recovery is
`reconciler.decide.recovery`.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from specs.document import Document, Model
from specs.scalars import Duration, impact, parse_name
from specs.script import MonitorScript
from specs.server_group import NameList

PLAIN_TARGETS = ("all-groups", "server")
FinalAction = Literal[
    "none", "stop-group", "stop-agent", "shutdown", "reboot", "crash", "power-off", "power-cycle"
]


def _object(text: str) -> str:
    kind, slash, name = text.partition("/")
    if not slash or kind not in ("group", "resource"):
        raise ValueError(f"{text[:60]!r} names no object: write group/NAME or resource/NAME")
    parse_name(name)
    return text


def _target(text: str) -> str:
    if text in PLAIN_TARGETS:
        return text
    try:
        return _object(text)
    except ValueError:
        if text.partition("/")[0] in ("group", "resource"):
            raise
    raise ValueError(
        f"{text[:60]!r} is not a target: write group/NAME, resource/NAME, all-groups or server"
    )


class RecoverySpec(Model):
    """The ladder that a faulty monitor climbs, one step at a time: a script, restarts in place,
    failovers, the final action. After it the monitor is parked: it goes on probing and does nothing
    more."""

    script: MonitorScript | None = Field(
        default=None,
        description="Script that may repair the target; it runs before the restarts, on the server "
        "where the probe failed. The next probe decides whether it helped.",
        json_schema_extra=impact(
            "monitor", example={"file": "repair.sh"}, default_text="no such step"
        ),
    )
    scripts: int = Field(
        default=1,
        ge=1,
        le=100,
        description="How often the script runs before the target is restarted.",
        json_schema_extra=impact("monitor", example=1),
    )
    script_timeout: Annotated[Duration, Field(ge=0.5, le=3600)] = Field(
        default=30.0,
        description="Time that the script has before it is killed with everything it started.",
        json_schema_extra=impact("monitor", example="30s"),
    )
    restarts: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Restarts of the target in place before it fails over. They count among the "
        "group's own `restarts` too, whichever is used up first.",
        json_schema_extra=impact("monitor", example=3),
    )
    failovers: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Failovers of the target's group that this monitor causes on one server. The "
        "group's `failover.maxFailures` counts them too.",
        json_schema_extra=impact("monitor", example=1),
    )
    final_action: FinalAction = Field(
        default="none",
        description="What is done when restarts and failovers are used up. What concerns the "
        "server (all but none and stop-group) is done at most once an hour by one monitor, within "
        "the Cluster's `rebootLimit`, and only while the other servers are a majority. stop-agent, "
        "shutdown and reboot let the groups move away first, for at most 20 s; crash, power-off "
        "and power-cycle (by the server's own fence device) do not wait.",
        json_schema_extra=impact("monitor", example="none"),
    )


class MonitorSpec(Model):
    """Fields that every type of monitor has."""

    type: str = Field(
        description="Type of the monitor; it decides the other fields.",
        json_schema_extra=impact("monitor", example="http"),
    )
    target: Annotated[str, AfterValidator(_target)] = Field(
        description="What is recovered: group/NAME, resource/NAME (restarts it with what depends "
        "on it, fails its group over), all-groups (all that run on the server where the probe "
        "failed) or server (final action only).",
        json_schema_extra=impact("monitor", example="group/web"),
    )
    interval: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=30.0,
        description="Time from the begin of one probe to the begin of the next. Probes of one "
        "monitor never overlap.",
        json_schema_extra=impact("monitor", example="30s"),
    )
    timeout: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=10.0,
        description="Time that one probe may take. A longer one has failed, and everything that "
        "it started is killed.",
        json_schema_extra=impact("monitor", example="10s"),
    )
    retry: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Failures in a row that are only suspect; the next one is a fault.",
        json_schema_extra=impact("monitor", example=1),
    )
    start_delay: Annotated[Duration, Field(le=86400)] = Field(
        default=0.0,
        description="Pause before the first probe: after the target came up, or after the agent "
        "started.",
        json_schema_extra=impact("monitor", example="5s"),
    )
    timing: Literal["always", "active"] = Field(
        default="active",
        description="active: probe only where, and only while, the target is online; always: on "
        "every server of `servers`.",
        json_schema_extra=impact("monitor", example="active"),
    )
    active_with: Annotated[str, AfterValidator(_object)] | None = Field(
        default=None,
        description="group/NAME or resource/NAME whose being online starts an active monitor.",
        json_schema_extra=impact("monitor", example="group/web", default_text="the target"),
    )
    servers: NameList | None = Field(
        default=None,
        min_length=1,
        description="Servers that probe.",
        json_schema_extra=impact("monitor", example=["n1", "n2"], default_text="all servers"),
    )
    delay_warning: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Part of the timeout after which a successful probe is reported as slow; 1 "
        "reports none.",
        json_schema_extra=impact("monitor", example=0.8),
    )
    recovery: RecoverySpec = Field(
        default_factory=RecoverySpec,
        description="The ladder that a faulty monitor climbs.",
        json_schema_extra=impact("monitor"),
    )
    reset_after: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Healthy probes in a row after which restarts and failovers count from zero "
        "again.",
        json_schema_extra=impact("monitor", example=3),
    )

    @model_validator(mode="after")
    def _active_with_something(self) -> Self:
        if self.timing == "always" and self.active_with is not None:
            raise ValueError("activeWith is for monitors with timing active only")
        if self.timing == "active" and self.companion is None:
            raise ValueError(
                f"with target {self.target!r} say what it is active with (activeWith), or write "
                "timing: always"
            )
        return self

    @property
    def companion(self) -> str | None:
        """What must be online for an active monitor: group/NAME or resource/NAME."""
        if self.timing == "always":
            return None
        return self.active_with or (None if self.target in PLAIN_TARGETS else self.target)

    def resources(self) -> tuple[tuple[str, str], ...]:
        """(field as a user writes it, name) of resources that the type's own fields name."""
        return ()

    def volumes(self) -> tuple[tuple[str, str, str], ...]:
        """(field, resource, volume) of volumes that the type's own fields name."""
        return ()

    def resource_types(self) -> tuple[str, ...]:
        """Types that these resources may have; none: any."""
        return ()


class Monitor(Document):
    """A periodic probe of a service, and what is done when it fails."""

    KIND: ClassVar[str] = "Monitor"

    kind: Literal["Monitor"] = Field(
        default="Monitor", description="Monitor.", json_schema_extra=impact("none")
    )
    spec: SerializeAsAny[MonitorSpec] = Field(
        description="Common fields and the type's own.", json_schema_extra=impact("monitor")
    )
