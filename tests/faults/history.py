"""What really happened, in the order in which it was written: lines of one shared file.

Witnesses write what they do, the campaign writes its faults, what clients were answered, and what
it reads from power histories and logs. Pure functions and a reader that goes on where it stopped;
used by the checks, the report, and the fault tests.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

OWN = ("t", "wall", "server", "epoch", "event", "group", "pid")
NEEDED = ("t", "wall", "event")
CONDENSED_GAP_S = 0.1
MACHINE = "machine"  # the group of a witness outside of the cluster, which has epoch 0
PLAIN = ("beat", "register", "ack")


@dataclass(frozen=True, slots=True)
class Line:
    """`t` is monotonic seconds, the same clock on every server of a lab. `epoch` and `pid` are a
    witness's only; `more` are the event's own fields."""

    t: float
    wall: float
    server: str
    epoch: int
    event: str
    group: str = "web"
    pid: int = 1
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        known = {name: getattr(self, name) for name in OWN}
        known = {name: value for name, value in known.items() if name in NEEDED or value}
        return json.dumps({**known, **self.more})


@dataclass(frozen=True, slots=True)
class Run:
    """One life of one witness, from its first line to its last. `clean`: it ended on request."""

    group: str
    server: str
    epoch: int
    pid: int
    began: float
    ended: float
    began_wall: float
    ended_wall: float
    clean: bool


def line_of(text: str) -> Line:
    """One line of the file; raises `ValueError` or `KeyError` for what is none."""
    found = json.loads(text)
    return Line(
        t=found.pop("t"),
        wall=found.pop("wall"),
        event=found.pop("event"),
        server=found.pop("server", ""),
        epoch=found.pop("epoch", 0),
        group=found.pop("group", ""),
        pid=found.pop("pid", 0),
        more=found,
    )


def parse(text: str) -> list[Line]:
    """The lines of a history file; a last line that is still being written is left out."""
    return [line_of(line) for line in text.split("\n")[:-1]]


class Reader:
    """Reads on in a growing file; `lines` is everything so far."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self.lines: list[Line] = []

    def read(self) -> list[Line]:
        if not self._path.exists():
            return self.lines
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        self.lines += parse(whole.decode())
        return self.lines


def witnessed(history: Iterable[Line], group: str | None = None) -> list[Line]:
    """What witnesses wrote, of one group or of all."""
    return [line for line in history if line.epoch and group in (None, line.group)]


def told(history: Iterable[Line], *events: str) -> list[Line]:
    """Lines of these events."""
    return [line for line in history if line.event in events]


def runs(history: Iterable[Line]) -> list[Run]:
    """Lives in order of their start. A new `up` of the same pid is a new life (pids come again)."""
    found = [_run(life) for life in _lives(history)]
    return sorted(found, key=lambda run: run.began)


def _lives(history: Iterable[Line]) -> list[list[Line]]:
    lives: list[list[Line]] = []
    current: dict[tuple[str, str, int, int], list[Line]] = {}
    for line in witnessed(history):
        key = (line.group, line.server, line.epoch, line.pid)
        if line.event == "up" or key not in current:
            current[key] = []
            lives.append(current[key])
        current[key].append(line)
    return lives


def _run(life: Sequence[Line]) -> Run:
    first = min(life, key=lambda line: line.t)
    last = max(life, key=lambda line: line.t)
    return Run(
        group=first.group,
        server=first.server,
        epoch=first.epoch,
        pid=first.pid,
        began=first.t,
        ended=last.t,
        began_wall=first.wall,
        ended_wall=last.wall,
        clean=any(line.event == "down" for line in life),
    )


def groups(history: Iterable[Line]) -> list[str]:
    return sorted({line.group for line in witnessed(history)})


def gaps(history: Iterable[Line], group: str, longer_s: float) -> Iterator[tuple[float, float]]:
    """Intervals without a line of the group's witness that are longer than this."""
    lines = sorted(witnessed(history, group), key=lambda line: line.t)
    return (
        (a.t, b.t) for a, b in pairwise(lines) if b.t - a.t > longer_s and not b.more.get("steady")
    )


def beating(history: Iterable[Line], group: str, within_s: float) -> Callable[[float], bool]:
    """Tells of any time whether the group's witness lived within so many seconds of it."""
    lines = witnessed(history, group)
    first = min((line.t for line in lines), default=inf)
    last = max((line.t for line in lines), default=-inf)
    silences = list(gaps(lines, group, within_s))

    def lived(t: float) -> bool:
        early, late = t - within_s, t + within_s
        return (
            first <= late and early <= last and not any(a < early < late < b for a, b in silences)
        )

    return lived


def condensed(history: Sequence[Line]) -> list[Line]:
    """The same history without what no check needs: of each stretch of beats in one life only its
    first and its last line, that one marked `steady`: there was no gap between them."""
    kept: list[Line] = []
    last: dict[tuple[str, str, int, int], Line] = {}
    left_out: dict[tuple[str, str, int, int], Line] = {}
    for line in history:
        if line.event not in PLAIN:
            kept.append(line)
            continue
        key = (line.group, line.server, line.epoch, line.pid)
        before = last.get(key)
        last[key] = line
        if before is not None and line.t - before.t <= CONDENSED_GAP_S:
            left_out[key] = line
            continue
        if key in left_out:
            kept.append(_steady(left_out.pop(key)))
        kept.append(line)
    return sorted([*kept, *map(_steady, left_out.values())], key=lambda line: line.t)


def _steady(line: Line) -> Line:
    return replace(line, more={**line.more, "steady": True})
