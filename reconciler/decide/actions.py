"""What a decision asks the loops to do: guarded writes, effects on the world, wanted groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reconciler.decide.records import FenceIntent, Record


@dataclass(frozen=True, slots=True)
class Reason:
    """One explained step; becomes the event `name` when the step was taken."""

    name: str
    fields: tuple[tuple[str, Any], ...] = ()

    @staticmethod
    def of(name: str, **fields: Any) -> "Reason":
        return Reason(name, tuple(sorted(fields.items())))


@dataclass(frozen=True, slots=True)
class Write:
    """Put `record` (or delete, when None) if the key still has `expected` (0 = does not exist).

    `depends` are further (key, mod_revision) pairs that the decision was based on.
    """

    key: str
    record: Record | None
    expected: int
    reason: Reason | None = None
    depends: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ExecuteFence:
    """Power off the intent's victim, judge the answer, probe the addresses."""

    intent: FenceIntent
    mod_revision: int
    valid_until: float
    probe_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrepareFence:
    """Open the session to this server's fence device early."""

    server: str


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Switch a server on again after the fence of that time (`FenceRecord.at_wall`)."""

    server: str
    fenced_wall: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeAddresses:
    """Ask the network whether somebody still answers for these addresses."""

    operation: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskMembers:
    """Find out which voting members of the store answer right now."""


@dataclass(frozen=True, slots=True)
class MoveStoreLeader:
    """Hand the store's lead to this server's member."""

    server: str


@dataclass(frozen=True, slots=True)
class StretchDeadline:
    """Let this server's pulse wait until then (monotonic; 0 = no longer) before it ends what runs;
    `hold` names the wish, whose first end stands."""

    hold: str
    until: float


@dataclass(frozen=True, slots=True)
class ResetSelf:
    """Self-fencing: a stop failed, so this machine must not go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class ActOnMachine:
    """A final action on this server, once for each `key`; not while there is an `obstacle`."""

    action: str
    reason: str
    key: str
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class ForgetMachineActions:
    """An operator cleared this server's count; those up to then count no more."""

    through_wall: float


Effect = (
    ExecuteFence
    | PrepareFence
    | PowerOn
    | ProbeAddresses
    | AskMembers
    | MoveStoreLeader
    | StretchDeadline
    | ResetSelf
    | ActOnMachine
    | ForgetMachineActions
)


class Want(StrEnum):
    """What a server does with a group: run it, stop and give it up, or stop and hold still."""

    RUN = "run"
    RELEASE = "release"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class LocalWant:
    """One group's wish on this server at `epoch`. STOP ends what runs at any epoch up to it."""

    want: Want
    epoch: int
    cause: str
    stopped_resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`writes` go into one transaction that also compares the coordinator key; `own_writes` each
    into one of their own. `take_coordinator` puts that key in the same transaction. `after_commit`
    effects happen only once `writes` are stored. `prepare`: groups that may come here next, and why
    (`preparation`)."""

    writes: tuple[Write, ...] = ()
    take_coordinator: bool = False
    own_writes: tuple[Write, ...] = ()
    effects: tuple[Effect, ...] = ()
    after_commit: tuple[Effect, ...] = ()
    local: Mapping[str, LocalWant] = field(default_factory=dict)
    prepare: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    wake_at: float | None = None
