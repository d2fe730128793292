"""Kind Cluster: networks and timing of the whole cluster."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field

from specs.document import Document, Model
from specs.heartbeat_path import HeartbeatPathSpec
from specs.scalars import Cidr, Duration, Name, impact

T = TypeVar("T")

ProfileName = Literal["default", "fast-lan", "no-realtime", "wan"]


@dataclass(frozen=True, slots=True)
class Timing:
    """All timings of a cluster, resolved. Seconds, except the two etcd settings (ms)."""

    heartbeat_interval: float
    heartbeat_misses: int
    challenge_timeout: float
    session_ttl: float
    session_renewal: float
    dead_man: float
    profile: str
    etcd_heartbeat_ms: int
    etcd_election_ms: int

    @property
    def silence(self) -> float:
        """Seconds without any heartbeat after which a server is suspected (K x H)."""
        return self.heartbeat_interval * self.heartbeat_misses


PROFILES: dict[str, Timing] = {
    name: Timing(
        heartbeat_interval=interval,
        heartbeat_misses=misses,
        challenge_timeout=challenge,
        session_ttl=10.0,
        session_renewal=1.0,
        dead_man=6.0,
        profile=name,
        etcd_heartbeat_ms=etcd_heartbeat,
        etcd_election_ms=etcd_election,
    )
    for name, interval, misses, challenge, etcd_heartbeat, etcd_election in (
        ("default", 0.050, 4, 0.150, 50, 500),
        ("fast-lan", 0.020, 4, 0.100, 20, 200),
        ("no-realtime", 0.100, 5, 0.300, 100, 1000),
        ("wan", 0.500, 6, 1.500, 250, 2500),
    )
}


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


class TimingSpec(Model):
    """A named profile sets every timing; fields that are given override it."""

    profile: ProfileName = Field(
        default="default",
        description="Set of timings to begin with: default, fast-lan (a quiet LAN with real-time "
        "scheduling), no-realtime (shared or virtual machines), wan.",
        json_schema_extra=impact("none", example="default"),
    )
    heartbeat_interval: Annotated[Duration, Field(ge=0.005, le=10)] | None = Field(
        default=None,
        description="Time between two heartbeats on each path (H).",
        json_schema_extra=impact("none", example="50ms", default_text="from the profile"),
    )
    heartbeat_misses: Annotated[int, Field(ge=2, le=100)] | None = Field(
        default=None,
        description="Missed heartbeats on all paths after which a server is suspected (K).",
        json_schema_extra=impact("none", example=4, default_text="from the profile"),
    )
    challenge_timeout: Annotated[Duration, Field(ge=0.02, le=60)] | None = Field(
        default=None,
        description="Time that a suspected server has to answer through the store (C).",
        json_schema_extra=impact("none", example="150ms", default_text="from the profile"),
    )
    session_ttl: Annotated[Duration, Field(ge=1, le=600)] | None = Field(
        default=None,
        alias="sessionTTL",
        description="Life of a server's session in the store without renewal; a backstop, never "
        "the detector.",
        json_schema_extra=impact("none", example="10s", default_text="from the profile"),
    )
    session_renewal: Annotated[Duration, Field(ge=0.1, le=60)] | None = Field(
        default=None,
        description="Time between two renewals of a session.",
        json_schema_extra=impact("none", example="1s", default_text="from the profile"),
    )
    dead_man: Annotated[Duration, Field(ge=0.5, le=600)] | None = Field(
        default=None,
        description="Time after the last proven renewal at which a server that lost the store "
        "stops acting (D).",
        json_schema_extra=impact("none", example="6s", default_text="from the profile"),
    )

    def resolved(self) -> Timing:
        """The profile's timings with the given fields in their place."""
        base = PROFILES[self.profile]
        return Timing(
            heartbeat_interval=_given(self.heartbeat_interval, base.heartbeat_interval),
            heartbeat_misses=_given(self.heartbeat_misses, base.heartbeat_misses),
            challenge_timeout=_given(self.challenge_timeout, base.challenge_timeout),
            session_ttl=_given(self.session_ttl, base.session_ttl),
            session_renewal=_given(self.session_renewal, base.session_renewal),
            dead_man=_given(self.dead_man, base.dead_man),
            profile=base.profile,
            etcd_heartbeat_ms=base.etcd_heartbeat_ms,
            etcd_election_ms=base.etcd_election_ms,
        )


class NetworkSpec(Model):
    """One network that the servers share."""

    name: Name = Field(
        description="Name of the network; servers give their address under it.",
        json_schema_extra=impact("server", example="private"),
    )
    cidr: Cidr = Field(
        description="The network with its prefix length, IPv4 or IPv6.",
        json_schema_extra=impact("server", example="10.77.1.0/24"),
    )
    heartbeat: bool = Field(
        default=True,
        description="Whether heartbeats travel on this network.",
        json_schema_extra=impact("none", example=True),
    )


def _unique_names(networks: tuple[NetworkSpec, ...]) -> tuple[NetworkSpec, ...]:
    seen: set[str] = set()
    for network in networks:
        if network.name in seen:
            raise ValueError(f"network {network.name!r} is listed twice")
        seen.add(network.name)
    return networks


class RebootLimitSpec(Model):
    """How often a server may act on itself for the sake of monitors and groups."""

    max: int = Field(
        default=3,
        ge=1,
        le=100,
        description="Final actions on one server within `window`; further ones are not taken until "
        "`clusterctl clear server/NAME`.",
        json_schema_extra=impact("none", example=3),
    )
    window: Annotated[Duration, Field(ge=60)] = Field(
        default=3600.0,
        description="Time after which one no longer counts.",
        json_schema_extra=impact("none", example="1h"),
    )


class ClusterSpec(Model):
    """What holds for every server."""

    networks: Annotated[tuple[NetworkSpec, ...], AfterValidator(_unique_names)] = Field(
        min_length=1,
        description="Networks that the servers share.",
        json_schema_extra=impact("server"),
    )
    heartbeat_paths: tuple[HeartbeatPathSpec, ...] = Field(
        default=(),
        max_length=8,
        description="Paths for heartbeats beside the networks: shared disks, serial lines. They "
        "tell a server that lost its networks from one that is dead.",
        json_schema_extra=impact("none", default_text="networks only"),
    )
    timing: TimingSpec = Field(
        default_factory=TimingSpec,
        description="Heartbeats, challenge, session and dead-man.",
        json_schema_extra=impact("none"),
    )
    reboot_limit: RebootLimitSpec = Field(
        default_factory=RebootLimitSpec,
        description="How often a server may act on itself as a final action. Fencing, dead-man and "
        "watchdog are not counted and not bound by it.",
        json_schema_extra=impact("none"),
    )
    startup_barrier: Annotated[Duration, Field(le=3600)] = Field(
        default=60.0,
        description="At a cold start, wait at most this long for all servers before groups start.",
        json_schema_extra=impact("none", example="60s"),
    )


class Cluster(Document):
    """The cluster itself; exactly one object of this kind."""

    KIND: ClassVar[str] = "Cluster"

    kind: Literal["Cluster"] = Field(
        default="Cluster", description="Cluster.", json_schema_extra=impact("none")
    )
    spec: ClusterSpec = Field(
        description="What holds for every server.", json_schema_extra=impact("server")
    )
