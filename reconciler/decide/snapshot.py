"""The frozen input of every decision: what the store, the pulse and this server say, and `now`.

Times named `now`, `*_at` and `*_until` are CLOCK_MONOTONIC seconds of this server; `*_wall` is for
people and for windows of hours only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from reconciler.decide.hearing import PeersView
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.pairing import Pairing
from reconciler.decide.records import (
    Answer,
    Challenge,
    Coordinator,
    Cordon,
    FenceIntent,
    FenceOutcome,
    FenceRecord,
    GroupStatus,
    Hold,
    MirrorRecord,
    MonitorStatus,
    Operation,
    Ownership,
    Phase,
    Record,
    Release,
    Session,
    StoreLife,
    Verdict,
)
from specs.cluster import Cluster, Timing
from specs.group import Group
from specs.monitor import Monitor
from specs.resource import Resource
from specs.server import Server
from specs.server_group import ServerGroup

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A record as stored, and when this server first saw this version of it."""

    record: R
    mod_revision: int
    seen_at: float


@dataclass(frozen=True)
class Specs:
    """The head revision's objects by name. No slots: what each decision asks for is kept."""

    revision: int
    cluster: Cluster
    servers: Mapping[str, Server] = field(default_factory=dict)
    server_groups: Mapping[str, ServerGroup] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    resources: Mapping[str, Resource] = field(default_factory=dict)
    monitors: Mapping[str, Monitor] = field(default_factory=dict)
    pairings: Mapping[str, Pairing] = field(default_factory=dict)
    """Of groups with a hybrid disk and those that were derived for them; see `standby_side`."""

    @cached_property
    def timing(self) -> Timing:
        return self.cluster.spec.timing.resolved()

    def resources_of(self, group: str) -> dict[str, Resource]:
        return {
            name: resource
            for name, resource in sorted(self.resources.items())
            if resource.spec.group == group
        }


@dataclass(frozen=True, slots=True)
class StoreMember:
    """A voting member of the store: the server that runs it, and when it answered last."""

    server: str
    answered_at: float | None
    is_leader: bool = False


@dataclass(frozen=True, slots=True)
class LocalGroup:
    """What runs of a group on this server.

    `phase` OFFLINE is only said after every resource was observed stopped. `failure` is set when
    this epoch gave up. `stuck` means that a resource could not be stopped.
    """

    group: str
    epoch: int
    phase: Phase
    failure: str = ""
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class LocalFence:
    """What this server, as executor, found out about the intent with this nonce."""

    outcome: FenceOutcome
    detail: str
    guid: str | None = None
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class LocalProbe:
    """Answer of this server's address probe for an operation: MAC per address that answered, or
    the `error` for which nothing is known."""

    answered: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class OwnSession:
    """This agent's session: `valid_until` follows from the send time of the last renewal."""

    incarnation: str
    lease: int
    mod_revision: int
    valid_until: float


@dataclass(frozen=True, slots=True)
class KnownStore:
    """The store that this server worked with last, durably: which, how old, and how far."""

    store_id: str
    generation: int
    revision: int


@dataclass(frozen=True, slots=True)
class PastAction:
    """A final action that this server took on itself; durable. `key` is the group's epoch that it
    was for, "" for a monitor's."""

    action: str
    reason: str
    wall: float
    key: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision may look at. `fresh_at` is when the mirror last heard the store.
    `stood_still_at`: when this server, its agent or its pulse was last found to have stood still.

    `absent_since` tells when the end of a server's session was seen, `complete_since` from when on
    no change can have escaped this server (None: it cannot say).

    `unreadable` are keys whose record nobody here understands (a newer schema, damage): the record
    is missing in the maps, which must not be read as absent.

    `local_power_ons`: servers that this one has switched on, and after the fence of which time.
    """

    now: float
    wall: float
    me: str
    boot_id: str
    specs: Specs
    peers: PeersView
    own_session: OwnSession | None = None
    fresh_at: float = float("-inf")
    proof_at: float = float("-inf")
    stood_still_at: float = float("-inf")
    revision: int = 0
    sessions: Mapping[str, Stored[Session]] = field(default_factory=dict)
    absent_since: Mapping[str, float] = field(default_factory=dict)
    complete_since: float | None = None
    coordinator: Stored[Coordinator] | None = None
    ownerships: Mapping[str, Stored[Ownership]] = field(default_factory=dict)
    releases: Mapping[str, Stored[Release]] = field(default_factory=dict)
    fence_slot: Stored[FenceIntent] | None = None
    fences: Mapping[str, Stored[FenceRecord]] = field(default_factory=dict)
    challenges: Mapping[str, Stored[Challenge]] = field(default_factory=dict)
    answers: Mapping[str, Stored[Answer]] = field(default_factory=dict)
    operations: Mapping[str, Stored[Operation]] = field(default_factory=dict)
    verdicts: Mapping[str, Stored[Verdict]] = field(default_factory=dict)
    group_status: Mapping[tuple[str, str], GroupStatus] = field(default_factory=dict)
    monitor_status: Mapping[tuple[str, str], MonitorStatus] = field(default_factory=dict)
    store_members: tuple[StoreMember, ...] = ()
    local_groups: Mapping[str, LocalGroup] = field(default_factory=dict)
    dropped_epochs: Mapping[str, int] = field(default_factory=dict)
    local_fences: Mapping[str, LocalFence] = field(default_factory=dict)
    local_probes: Mapping[str, LocalProbe] = field(default_factory=dict)
    local_power_ons: Mapping[str, float] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    store_id: str = ""
    known_store: KnownStore | None = None
    store_life: Stored[StoreLife] | None = None
    cordons: Mapping[str, Stored[Cordon]] = field(default_factory=dict)
    holds: Mapping[str, Stored[Hold]] = field(default_factory=dict)
    mirrors: Mapping[str, Stored[MirrorRecord]] = field(default_factory=dict)
    mirror_status: Mapping[tuple[str, str], MirrorStatus] = field(default_factory=dict)
    machine_actions: tuple[PastAction, ...] = ()
