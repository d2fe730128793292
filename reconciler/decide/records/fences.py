"""What the store holds of fences: the one in progress, and the last result for each server."""

from enum import StrEnum

from pydantic import Field

from reconciler.decide.records.base import Record


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
