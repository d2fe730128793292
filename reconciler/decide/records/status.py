"""What servers say of themselves, and events. Shown to people; never a proof of anything."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from reconciler.decide.records.base import Record
from reconciler.decide.records.groups import Phase
from reconciler.decide.storage_facts import StorageFacts


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
    `warning`: the last probe was healthy, and yet somebody should look.
    """

    monitor: str
    server: str
    type: str = ""
    target: str = ""
    state: MonitorState = MonitorState.UNKNOWN
    warning: bool = False
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
