"""Judges histories that witnesses wrote: pure functions, a list of complaints out, none = good.

Called by the fault tests. They read what really ran and, for `unproven_takeovers`, the events; the
product's own opinion of who owns a group is never asked.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FENCES = ("fence_confirmed", "fence_confirmed_by_person")
PROOFS = (*FENCES, "group_released")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a history; `t` is monotonic seconds, the same clock on every server of a lab."""

    t: float
    wall: float
    server: str
    epoch: int
    event: str
    group: str = "web"
    pid: int = 1


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


def parse(text: str) -> list[Line]:
    """The lines of a history file; a last line that is still being written is left out."""
    return [Line(**json.loads(line)) for line in text.split("\n")[:-1]]


def runs(history: Iterable[Line]) -> list[Run]:
    """Lives in order of their start. A new `up` of the same pid is a new life (pids come again)."""
    lives: list[list[Line]] = []
    current: dict[tuple[str, str, int, int], list[Line]] = {}
    for line in history:
        key = (line.group, line.server, line.epoch, line.pid)
        if line.event == "up" or key not in current:
            current[key] = []
            lives.append(current[key])
        current[key].append(line)
    found = [_run(life) for life in lives]
    return sorted(found, key=lambda run: run.began)


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


def overlaps(history: Iterable[Line]) -> list[str]:
    """Two lives of one group at the same time: two servers, or twice on one."""
    lives = runs(history)
    return [
        f"{a.group} ran on {a.server} (epoch {a.epoch}) until {a.ended:.3f} and on {b.server} "
        f"(epoch {b.epoch}) from {b.began:.3f}"
        for i, a in enumerate(lives)
        for b in lives[i + 1 :]
        if a.group == b.group and b.began <= a.ended
    ]


def falling_epochs(history: Iterable[Line]) -> list[str]:
    """A write of an older epoch after a newer one was seen, in the order of the shared file: the
    late writer that a storage would have to refuse."""
    highest: dict[str, int] = {}
    complaints = []
    for line in history:
        before = highest.get(line.group, 0)
        if line.epoch < before:
            text = f"{line.server} wrote {line.event} at epoch {line.epoch} after epoch {before}"
            complaints.append(f"{line.group}: {text}")
        highest[line.group] = max(before, line.epoch)
    return complaints


def reused_epochs(history: Iterable[Line]) -> list[str]:
    """One epoch belongs to one server."""
    owners: dict[tuple[str, int], str] = {}
    complaints = []
    for run in runs(history):
        first = owners.setdefault((run.group, run.epoch), run.server)
        if first != run.server:
            text = f"{run.group}: epoch {run.epoch} ran on {first} and on {run.server}"
            complaints.append(text)
    return complaints


def unproven_takeovers(
    history: Iterable[Line], events: Iterable[Mapping[str, Any]], slack_s: float = 0.0
) -> list[str]:
    """A group that came up on another server although the last life did not end on request, and
    since that life was last seen neither its server was proven off nor gave the epoch up (as it
    does with a program that died).

    `events` are flat: `event`, `at_wall`, `server` of a fence, `by`, `group` and `epoch` of a
    release. `slack_s` is how much the stamp of an event may be wrong.
    """
    told = list(events)
    complaints = []
    last: dict[str, Run] = {}
    for run in runs(history):
        before = last.get(run.group)
        last[run.group] = run
        if before is None or before.server == run.server or before.clean:
            continue
        earliest, latest = before.ended_wall - slack_s, run.began_wall + slack_s
        between = [event for event in told if earliest <= event["at_wall"] <= latest]
        if not any(_proves(event, before) for event in between):
            text = f"{run.group} came up on {run.server} without proof that {before.server} is off"
            complaints.append(text)
    return complaints


def _proves(event: Mapping[str, Any], run: Run) -> bool:
    """This event says that what ran then can not run any more."""
    if event["event"] in FENCES:
        return bool(event["server"] == run.server)
    if event["event"] != "group_released":
        return False
    what = (event["by"], event["group"], event["epoch"])
    return what == (run.server, run.group, run.epoch)


def complaints(history: Sequence[Line]) -> list[str]:
    """Everything that must hold of a history at any time."""
    return [*overlaps(history), *falling_epochs(history), *reused_epochs(history)]
