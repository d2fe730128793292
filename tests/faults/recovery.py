"""How long services were away: pure functions over histories. Used by report and picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tests.faults.history import MACHINE, Line, gaps, groups, told

OUTAGE_S = 0.25
BEFORE_S = 0.1
GOAL_P95_S = 3.0
HEALING_S = 2.0
STALL_S = 0.1
COMBINED = "two faults, or a fault and a move"


@dataclass(frozen=True, slots=True)
class Outage:
    """The longest silence of one group in one round. `blocked`: no proof was to be had before the
    fault was healed, so `seconds` counts from there."""

    round: int
    kind: str
    group: str
    began: float
    seconds: float
    blocked: bool


@dataclass(frozen=True, slots=True)
class Row:
    """Outages of one kind. `rounds` times groups were at stake; the rest noticed nothing."""

    kind: str
    rounds: int
    outages: int
    median_s: float
    p95_s: float
    longest_s: float


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def kind_of(history: Iterable[Line]) -> dict[int, str]:
    """What each round is counted under."""
    found: dict[int, str] = {}
    for line in told(history, "fault", "moved"):
        number = line.more["round"]
        kind = line.more.get("kind", COMBINED)
        found[number] = kind if number not in found else COMBINED
    return found


def stalls(history: Iterable[Line]) -> list[tuple[float, float]]:
    """When the machine below the lab stood still, or its disk: a process that does what a witness
    does, outside of the cluster, did nothing for longer than STALL_S."""
    lines = sorted((line for line in history if line.group == MACHINE), key=lambda line: line.t)
    return [
        (a.t, b.t) for a, b in pairwise(lines) if b.t - a.t > STALL_S and not b.more.get("steady")
    ]


def _is_real(gap: tuple[float, float], stood: Sequence[tuple[float, float]]) -> bool:
    """What is left of it without the stalls of the machine is still an outage."""
    began, ended = gap
    stalled = sum(max(0.0, min(b, ended) - max(a, began)) for a, b in stood)
    return ended - began - stalled > OUTAGE_S


def outages(history: Sequence[Line]) -> list[Outage]:
    kinds = kind_of(history)
    stood = stalls(history)
    found = []
    for number, kind in kinds.items():
        mine = [line for line in history if line.more.get("round") == number]
        begins = [line.t for line in told(mine, "fault", "moved")]
        ends = [line.t for line in told(mine, "whole", "not_whole")]
        faults = told(mine, "fault")
        blocking = {each.more["index"] for each in faults if each.more.get("blocked")}
        healed = [each.t for each in told(mine, "healed") if each.more["index"] in blocking]
        if not begins or not ends:
            continue
        part = [line for line in history if min(begins) - 1 <= line.t <= max(ends)]
        for group in groups(part):
            silent = [
                gap
                for gap in gaps(part, group, OUTAGE_S)
                if gap[0] >= min(begins) - BEFORE_S and _is_real(gap, stood)
            ]
            if not silent:
                continue
            a, b = max(silent, key=lambda gap: gap[1] - gap[0])
            # healing takes a moment itself, and is noted when it is done
            ended = [t for t in healed if a < t < b + HEALING_S]
            length = max(0.0, b - max(ended)) if ended else b - a
            found.append(Outage(number, kind, group, a, length, bool(ended)))
    return found


def table(history: Sequence[Line], *, blocked: bool) -> list[Row]:
    """One row for each kind: of outages that a proof could end, or of those that had to wait."""
    count = len(groups(history))
    kinds = kind_of(history)
    every = outages(history)
    rows = []
    for kind in sorted(set(kinds.values())):
        seconds = [each.seconds for each in every if (each.kind, each.blocked) == (kind, blocked)]
        if blocked and not seconds:
            continue
        at_stake = count * sum(1 for each in kinds.values() if each == kind)
        rows.append(
            Row(
                kind,
                at_stake,
                len(seconds),
                median(seconds) if seconds else 0.0,
                percentile(seconds, 0.95),
                max(seconds, default=0.0),
            )
        )
    return rows


def total(history: Sequence[Line], *, blocked: bool) -> Row:
    seconds = [each.seconds for each in outages(history) if each.blocked is blocked]
    at_stake = len(groups(history)) * len(kind_of(history))
    return Row(
        "all",
        at_stake,
        len(seconds),
        median(seconds) if seconds else 0.0,
        percentile(seconds, 0.95),
        max(seconds, default=0.0),
    )
