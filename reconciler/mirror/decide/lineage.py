"""Who copies what to whom, when a serving side (the source) meets the other one (the target).

`compare` is called by the serving side with what the other side told of itself. A target never
serves; two sides that both serve are told apart by their epochs before this.
"""

from dataclasses import dataclass
from enum import StrEnum

from reconciler.mirror.header import Header


class Meeting(StrEnum):
    """DIFFERENCE: the blocks that either side knows of. FULL: all. STALE: the serving side itself
    is behind. SPLIT: neither knows the other's data. REFUSED: they do not fit."""

    DIFFERENCE = "difference"
    FULL = "full"
    STALE = "stale"
    SPLIT = "split-brain"
    REFUSED = "refused"

    @property
    def copies(self) -> bool:
        return self in (Meeting.DIFFERENCE, Meeting.FULL)


@dataclass(frozen=True, slots=True)
class Verdict:
    meeting: Meeting
    reason: str


def compare(source: Header, target: Header, epoch: int) -> Verdict:
    """`source` serves at `epoch`, which is its own floor."""
    problem = _misfit(source, target, epoch)
    if problem is not None:
        return problem
    if target.fresh:
        return Verdict(Meeting.FULL, "the other side was never built")
    if target.current == source.current or target.current in source.bases:
        return Verdict(Meeting.DIFFERENCE, "both know what differs")
    if target.discard:
        if set(source.bases) & set(target.bases):
            return Verdict(Meeting.DIFFERENCE, "given up; both differ from a common base")
        return Verdict(Meeting.FULL, "given up by an operator")
    if source.current in (*target.bases, *target.history):
        return Verdict(Meeting.STALE, "the other side has newer data")
    if target.current in source.history:
        return Verdict(Meeting.FULL, "it is too far behind to know what differs")
    return Verdict(
        Meeting.SPLIT,
        "both sides have data that the other one lacks; an operator must give one of them up",
    )


def _misfit(source: Header, target: Header, epoch: int) -> Verdict | None:
    if target.resource != source.resource:
        return Verdict(Meeting.REFUSED, f"it mirrors {target.resource}")
    if target.floor > epoch:
        return Verdict(Meeting.STALE, f"it follows epoch {target.floor} already")
    if target.isolated:
        return Verdict(Meeting.REFUSED, "it is isolated")
    if target.size < source.size:
        return Verdict(
            Meeting.REFUSED, f"its data has {target.size} bytes, this side has {source.size}"
        )
    return None
