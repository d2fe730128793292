"""What really happened, as the world sees it: the only thing that invariants look at.

`World.emit` hands each fact to every invariant; a list of facts is a history, and a unit test of an
invariant is a history that must fail it. Times are the world's virtual seconds.
"""

from dataclasses import dataclass
from typing import Any

from reconciler.decide.records import Record


@dataclass(frozen=True, slots=True)
class Fact:
    at: float


@dataclass(frozen=True, slots=True)
class Up(Fact):
    """A resource came up on a server; `level` is its place in the start order, `began` when its
    start began, if that took time."""

    server: str
    group: str
    resource: str
    epoch: int
    level: int
    began: float | None = None


@dataclass(frozen=True, slots=True)
class Down(Fact):
    """A resource ended. `by`: driver, dead-man, power, itself."""

    server: str
    group: str
    resource: str
    level: int
    by: str


@dataclass(frozen=True, slots=True)
class Powered(Fact):
    """A machine got or lost its power, or was reset (`on` again under another boot). `by`: cord,
    bmc, itself, watchdog."""

    server: str
    on: bool
    boot_id: str
    by: str = "cord"


@dataclass(frozen=True, slots=True)
class Frozen(Fact):
    """The whole machine stands still, or goes on."""

    server: str
    frozen: bool


@dataclass(frozen=True, slots=True)
class Hears(Fact):
    """Whether a server's pulse can hear a majority of all servers, itself counted."""

    server: str
    majority: bool


@dataclass(frozen=True, slots=True)
class Held(Fact):
    """A pulse was told of an `agent hold` that lasts so long on its own clock from now on."""

    server: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Renewed(Fact):
    """A renewal of a server's lease was answered; it left at `sent_at` and proves the lease until
    `until` (the TTL on that server's own clock, as the world counts)."""

    server: str
    sent_at: float
    until: float = float("inf")


@dataclass(frozen=True, slots=True)
class Pulse(Fact):
    """A server's pulse process ended or is back."""

    server: str
    alive: bool


@dataclass(frozen=True, slots=True)
class Watched(Fact):
    """A pulse feeds the machine's watchdog from now on, which bites after so long on its clock."""

    server: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Deadline(Fact):
    """The dead-man time D that a server's pulse holds from now on."""

    server: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pill(Fact):
    """A poison pill for this boot was written."""

    server: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class Disk(Fact):
    """Whether a server reaches the shared disk."""

    server: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Unkillable(Fact):
    """From now on no signal ends what runs on this server, or it does again."""

    server: str
    unkillable: bool


@dataclass(frozen=True, slots=True)
class Exclusive(Fact):
    """Groups of which no two may share a server."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restored(Fact):
    """The store is another one now, with these records of `run/` out of a backup."""

    records: tuple[tuple[tuple[str, ...], Record], ...]


@dataclass(frozen=True, slots=True)
class Stored(Fact):
    """A record of `run/` changed in the store; `old` and `new` are None where there is none.
    `writer` is the server whose agent asked for it, empty for people and for ended leases."""

    path: tuple[str, ...]
    old: Record | None
    new: Record | None
    writer: str = ""


@dataclass(frozen=True, slots=True)
class PowerCommand(Fact):
    """A BMC executed *off*. `hearers`: servers that the executor hears steadily and that hear the
    victim steadily; `answers`: whether the victim's agent could steadily answer through the
    store; `quorum`: whether the other members of the store are a majority, as they are for a
    while."""

    victim: str
    executor: str
    hearers: tuple[str, ...] = ()
    answers: bool = False
    quorum: bool = True


@dataclass(frozen=True, slots=True)
class Told(Fact):
    """An event that an agent emitted; used only to ask whether what happened was explained."""

    server: str
    event: str
    fields: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Applied(Fact):
    """An apply of spec `number` ended: acknowledged with its revision, or unknown (None)."""

    number: int
    revision: int | None


@dataclass(frozen=True, slots=True)
class SpecsRead(Fact):
    """A server read a revision; `numbers` are those found in its objects."""

    server: str
    revision: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tick(Fact):
    """Time passes. `runs`: group -> servers on which all of it is active. `calm`: no fault is in
    force any more."""

    runs: tuple[tuple[str, tuple[str, ...]], ...]
    calm: bool


@dataclass(frozen=True, slots=True)
class End(Fact):
    """The run is over. `active`: (resource, server, epoch); `wanted`: (resource, group)."""

    active: tuple[tuple[str, str, int], ...]
    wanted: tuple[tuple[str, str], ...]
    servers: tuple[str, ...] = ()
