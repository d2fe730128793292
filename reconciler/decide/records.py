"""What the store holds under run/ and status/: frozen records with a schema number.

Every record that guards a decision carries a `nonce`, so that a writer recognises its own write
after an unanswered attempt.
"""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from reconciler.decide.storage_facts import StorageFacts

SCHEMA = 1
OLDEST_SCHEMA = max(1, SCHEMA - 1)
"""Agents read this one too, and write nothing newer than the oldest agent in session reads."""


class Record(BaseModel):
    """Base of all records. One of a newer schema is refused: what it means here is not known."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_number: int = Field(default=SCHEMA, alias="schema", le=SCHEMA)
    nonce: str = ""

    def to_bytes(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.model_validate_json(data)


class Session(Record):
    """run/sessions/<server>: this agent lives. Bound to its lease.

    `incarnation` changes with every session; `boot_id` with every power-on. `watchdog_s` is the
    time-out W of the hardware watchdog that is armed since some time of this boot and stays so
    (0: none), `dead_man_s` the longest deadline D that the pulse holds or is about to hold
    (0: an agent that does not say). The record is written again, with the same incarnation, before
    either becomes longer. `reads_schema` is the newest schema of records that this agent reads; the
    record itself is always of the oldest one.
    """

    server: str
    boot_id: str
    incarnation: str
    lease: int
    version: str = ""
    generation: int = 0
    started_wall: float = 0.0
    watchdog_s: float = 0.0
    dead_man_s: float = 0.0
    reads_schema: int = 1


class StoreLife(Record):
    """run/store: which etcd cluster these records belong to, and how often it was restored.

    A `store_id` other than the present one means that a backup was restored and nobody said `store
    restored` yet. The first 16 bits of every epoch are the `generation`. `doubted` are servers that
    may still run something from before.
    """

    store_id: str
    generation: int = 0
    doubted: tuple[str, ...] = ()
    who: str = ""
    restored_wall: float = 0.0


class Coordinator(Record):
    """run/coordinator: who decides for the cluster. Bound to that server's lease."""

    server: str
    incarnation: str


class Wanted(StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"


class Proof(StrEnum):
    """Why nobody else can run the group any more (docs/safety.md)."""

    NEVER_OWNED = "never-owned"
    RELEASED = "released"
    FENCED = "fenced"
    EXPIRED = "expired"
    CONFIRMED = "confirmed"
    NONE = "none"


class Candidate(Record):
    """Why a server was or was not chosen for a group."""

    server: str
    eligible: bool
    reason: str


class Ownership(Record):
    """run/groups/<group>: the only place that says who may run a group, and at which epoch.

    `owner` is None when nobody may. `boot_id` and `incarnation` are the owner's session at the time
    of the grant. `releasing` asks the owner to stop and release (a move or a stop). The epoch is
    never used twice. `candidates` and `decided_by` tell how the owner was chosen. `dead_man_s` and
    `watchdog_s` are the owner's deadlines that the proof `expired` may count on; zeros: never.
    """

    group: str
    epoch: int
    owner: str | None = None
    boot_id: str = ""
    incarnation: str = ""
    wanted: Wanted = Wanted.ONLINE
    releasing: bool = False
    stopped_resources: tuple[str, ...] = ()
    on_store_loss: str = "keep"
    dead_man_s: float = 0.0
    watchdog_s: float = 0.0
    proof: Proof = Proof.NEVER_OWNED
    cause: str = ""
    operation: str = ""
    previous_owner: str | None = None
    since_wall: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    decided_by: str = ""


class Cordon(Record):
    """run/cordons/<server>: it takes no groups, and gives away those that it has.

    With a `boot_id` for that boot only (it is being shut down); else until somebody says `undrain`.
    """

    server: str
    boot_id: str = ""
    who: str = ""
    why: str = ""
    since_wall: float = 0.0


class Hold(Record):
    """run/holds/<server>: the agent of this boot may be away until then; see `holding`.

    `id` is the operation that asked for it, `for_s` how long it may last at all. `in_force`: the
    server's pulse has stretched its deadline. `released`: somebody ended it early.
    """

    server: str
    boot_id: str
    id: str
    for_s: float
    until_wall: float
    in_force: bool = False
    released: bool = False
    who: str = ""
    why: str = ""


class Release(Record):
    """run/releases/<group>: the owner gave up this epoch for good; nothing of it runs there."""

    group: str
    epoch: int
    server: str
    boot_id: str
    cause: str = ""


class MirrorRecord(Record):
    """run/mirrors/<resource>: the servers that have all acknowledged data of a mirrored disk, and
    the id of that data's generation. No other server may serve it. Written by the group's owner,
    compared with its ownership; by the coordinator when an operator gives up what the servers of
    `given_up` had. That stays in the record until both sides are current."""

    resource: str
    servers: tuple[str, ...]
    generation: str
    epoch: int
    at_wall: float = 0.0
    forced_by: str = ""
    forced_why: str = ""
    forced_wall: float | None = None
    given_up: tuple[str, ...] = ()


class FenceIntent(Record):
    """run/fence-slot: the one fence in progress.

    `covers` are the victim's boot ids that a confirmed power-off ends. Only the named incarnation
    of the executor may act on it: a restarted agent does not know when it was stored. All count
    `valid_for_s` on the own monotonic clock, from seeing the intent; the executor from
    `counts_from`, which it read on its own clock before it wrote or claimed the intent (None: not
    claimed yet). `executor_boot` is the boot in which that incarnation runs.
    """

    victim: str
    covers: tuple[str, ...]
    executor: str
    executor_incarnation: str
    executor_boot: str = ""
    level: int
    attempt: int
    valid_for_s: float
    requested_by: str
    reason: str
    counts_from: float | None = None
    created_wall: float = 0.0
    # The slot is closed, never deleted: a late attempt to write an old intent must find a changed
    # key, not an absent one.
    closed: bool = False


class FenceOutcome(StrEnum):
    CONFIRMED_OFF = "confirmed-off"
    CONFIRMED_BY_PERSON = "confirmed-by-person"
    FAILED = "failed"
    CONTRADICTED = "contradicted"


class FenceRecord(Record):
    """run/fences/<server>: last result. A proof only for the boots it `covers`, if confirmed, and
    for those of `earlier`, which earlier fences proved off: a later failure takes nothing away."""

    server: str
    covers: tuple[str, ...]
    outcome: FenceOutcome
    executor: str
    level: int = 0
    attempt: int = 1
    detail: str = ""
    guid: str | None = None
    at_wall: float = 0.0
    duration_ms: float = 0.0
    power_on_due: bool = False
    power_on_tries: int = 0
    earlier: dict[str, FenceOutcome] = Field(default_factory=dict)

    @property
    def proves_off(self) -> bool:
        """Of the last attempt; `proof_for` is what counts for a boot."""
        return self.outcome in (FenceOutcome.CONFIRMED_OFF, FenceOutcome.CONFIRMED_BY_PERSON)

    def proof_for(self, boot_id: str) -> FenceOutcome | None:
        """What proves that this boot is over; None = nothing does."""
        if self.proves_off and boot_id in self.covers:
            return self.outcome
        return self.earlier.get(boot_id)


class Challenge(Record):
    """run/challenges/<server>: *answer this through the store, if you live* (nonce)."""

    server: str
    challenger: str


class Answer(Record):
    """run/answers/<server>: echoes the nonce of the challenge."""

    server: str
    boot_id: str
    pulse_alive: bool = True


class OperationKind(StrEnum):
    MOVE = "move"
    START = "start"
    STOP = "stop"
    FENCE = "fence"
    CONFIRM_FENCE = "confirm-fence"
    BYPASS_BARRIER = "bypass-barrier"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    HOLD = "hold"
    RELEASE_HOLD = "release-hold"
    CANCEL = "cancel"
    CLEAR = "clear"
    MIRROR_RESYNC = "mirror-resync"
    MIRROR_VERIFY = "mirror-verify"
    MIRROR_LIMIT = "mirror-limit"
    MIRROR_ISOLATE = "mirror-isolate"
    MIRROR_REJOIN = "mirror-rejoin"
    MIRROR_DISCARD = "mirror-discard"
    MIRROR_PROMOTE = "mirror-promote"


class OperationPhase(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Operation(Record):
    """run/operations/<ulid>: an operator's one-shot wish; the phase belongs to the coordinator.

    `target` is "group/web", "resource/web-ip", "server/n1" or "cluster". `to` is the wished server
    of a move or start, and who carries out a wish about a mirror. `for_s`: seconds of a hold or an
    isolation; `how`: the way of a resync; `limit`: bytes a second. With `preempt` a monitor's
    recovery of the group that is under way is not waited for. `begun`: it was under way, no guard
    refused it.
    """

    id: str
    kind: OperationKind
    target: str
    to: str | None = None
    boot_id: str | None = None
    for_s: float | None = None
    who: str = ""
    why: str = ""
    phase: OperationPhase = OperationPhase.PENDING
    result: str = ""
    created_wall: float = 0.0
    begun: bool = False
    finished_wall: float | None = None
    preempt: bool = False
    how: str = ""
    limit: int | None = None


class Phase(StrEnum):
    """Of a group, as people see it. RECOVERING is never stored: its owner is in doubt, and the
    cluster is about to find out or to fence it."""

    ONLINE = "online"
    OFFLINE = "offline"
    STARTING = "starting"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    FAILED = "failed"
    BLOCKED = "blocked"


class Verdict(Record):
    """run/verdicts/<group>: the coordinator's word on a group that is not simply running."""

    group: str
    phase: Phase
    reasons: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    next_command: str = ""
    failures: tuple["Failure", ...] = ()


class Failure(Record):
    """One failed run of a group on a server; counts towards the failover limit for a while."""

    server: str
    epoch: int
    reason: str
    at_wall: float = 0.0


class ResourceStatus(Record):
    name: str
    type: str
    state: str
    reason: str = ""
    since_wall: float = 0.0
    start_ms: float | None = None
    stop_ms: float | None = None
    restarts: int = 0


class GroupStatus(Record):
    """status/<server>/groups/<group>: what the owner sees. Status is never a proof."""

    group: str
    server: str
    epoch: int
    phase: Phase
    reasons: tuple[str, ...] = ()
    resources: tuple[ResourceStatus, ...] = ()
    revision: int = 0
    since_wall: float = 0.0
    start_ms: float | None = None
    stop_ms: float | None = None


class FencingTest(Record):
    """Self-test of one server's fence device, made by the server that reports it."""

    server: str
    level: int
    ok: bool
    detail: str
    guid: str | None = None
    at_wall: float = 0.0
    duration_ms: float = 0.0


class ServerStatus(Record):
    """status/<server>/server: what that server says of itself."""

    server: str
    boot_id: str
    incarnation: str
    revision: int = 0
    version: str = ""
    heartbeats: dict[str, dict[str, str]] = Field(default_factory=dict)
    fencing: tuple[FencingTest, ...] = ()
    warnings: tuple[str, ...] = ()
    store: str = "unknown"
    store_id: str = ""
    store_generation: int = 0
    cluster_keys: tuple[str, ...] = ()
    watchdog_s: float = 0.0
    final_actions: tuple["FinalActionTaken", ...] = ()
    at_wall: float = 0.0


class ServerFacts(Record):
    """status/<server>/facts: what a server measured of itself; for `clusterctl doctor`, and for the
    checks of `apply`.

    `fsync_ms` and `store_ms` are the slowest of a few tries. `boot_s` is the time from power-on to
    the agent's first start. `interfaces` maps a network to the interface that carries this
    server's address. `clock_offsets` says by how many seconds another server's clock is ahead.
    `certificates` maps a certificate's name to the time when it ends.
    """

    server: str
    boot_id: str
    at_wall: float = 0.0
    fsync_ms: float | None = None
    store_ms: float | None = None
    boot_s: float | None = None
    interfaces: dict[str, str] = Field(default_factory=dict)
    clock_offsets: dict[str, float] = Field(default_factory=dict)
    realtime: bool | None = None
    certificates: dict[str, float] = Field(default_factory=dict)
    storage: StorageFacts | None = None


class FinalActionTaken(Record):
    """One that counts towards the reboot limit."""

    action: str
    reason: str = ""
    at_wall: float = 0.0


class MonitorState(StrEnum):
    """OFFLINE: it does not probe now, because its target is not online here. PARKED: everything
    that it may do was done, and it is faulty still."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAULTY = "faulty"
    PARKED = "parked"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


class MonitorStatus(Record):
    """status/<server>/monitors/<monitor>: state, and the counters of its ladder on this server.

    `failures` and `healthy` count probes in a row. `spec` is a digest of the monitor's spec: the
    counters belong to it, and begin anew with another one. `waiting` is why the next step of the
    recovery is not taken now. `final_wall` is when the final action was last taken. `output` is the
    end of what the last probe wrote. `recovering` is the step that is being taken now, and
    `recovering_groups` the groups that it concerns: wishes of operators for them wait meanwhile.
    """

    monitor: str
    server: str
    type: str = ""
    target: str = ""
    state: MonitorState = MonitorState.UNKNOWN
    reason: str = ""
    output: str = ""
    waiting: str = ""
    failures: int = 0
    healthy: int = 0
    scripts: int = 0
    restarts: int = 0
    failovers: int = 0
    parked: bool = False
    spec: str = ""
    revision: int = 0
    since_wall: float = 0.0
    probed_wall: float = 0.0
    took_ms: float | None = None
    last_step: str = ""
    last_step_wall: float | None = None
    final_wall: float | None = None
    recovering: str = ""
    recovering_groups: tuple[str, ...] = ()


class EventRecord(Record):
    """events/<ulid> and a line of the local file."""

    id: str
    name: str
    server: str
    at_wall: float
    fields: dict[str, Any] = Field(default_factory=dict)
