"""What the store holds of groups: who may run one, who gave one up, what is said of it."""

from enum import StrEnum

from reconciler.decide.records.base import Record


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
    `follows`: this group was derived for that one, which has a hybrid disk (`standby_side`).
    """

    group: str
    epoch: int
    owner: str | None = None
    follows: str = ""
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
