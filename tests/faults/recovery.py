"""How long services were away: pure functions over histories. Used by report and picture."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
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
class Toll:
    """What faults cost. `at_stake`: how often groups could have been hit, by kind."""

    at_stake: Counter[str]
    outages: list[Outage]


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
    stood = stalls(history)
    by_round = defaultdict(list)
    for line in history:
        if "round" in line.more:
            by_round[line.more["round"]].append(line)
    by_time = sorted(history, key=lambda line: line.t)
    times = [line.t for line in by_time]
    found = []
    for number, kind in kind_of(history).items():
        mine = by_round[number]
        begins = [line.t for line in told(mine, "fault", "moved")]
        ends = [line.t for line in told(mine, "whole", "not_whole")]
        faults = told(mine, "fault")
        blocking = {each.more["index"] for each in faults if each.more.get("blocked")}
        healed = [each.t for each in told(mine, "healed") if each.more["index"] in blocking]
        if not begins or not ends:
            continue
        part = by_time[bisect_left(times, min(begins) - 1) : bisect_right(times, max(ends))]
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


def toll(*histories: Sequence[Line]) -> Toll:
    """Of one campaign, or of several together."""
    found = Toll(Counter(), [])
    for history in histories:
        count = len(groups(history))
        for kind in kind_of(history).values():
            found.at_stake[kind] += count
        found.outages.extend(outages(history))
    return found


def table(paid: Toll, *, blocked: bool) -> list[Row]:
    """One row for each kind: of outages that a proof could end, or of those that had to wait."""
    rows = []
    for kind, at_stake in sorted(paid.at_stake.items()):
        seconds = [o.seconds for o in paid.outages if (o.kind, o.blocked) == (kind, blocked)]
        if seconds or not blocked:
            rows.append(_row(kind, at_stake, seconds))
    return rows


def total(paid: Toll, *, blocked: bool) -> Row:
    seconds = [each.seconds for each in paid.outages if each.blocked is blocked]
    return _row("all", paid.at_stake.total(), seconds)


def _row(kind: str, at_stake: int, seconds: Sequence[float]) -> Row:
    middle = median(seconds) if seconds else 0.0
    most = max(seconds, default=0.0)
    return Row(kind, at_stake, len(seconds), middle, percentile(seconds, 0.95), most)
