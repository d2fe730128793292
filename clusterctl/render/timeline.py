"""The failover timeline from the cluster's events: which step came when, in milliseconds.

Called by `demo` and the benchmarks; pure text out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clusterctl.render.table import table
from reconciler.decide.records import EventRecord

# Steps in their order; each with the events that mark it (first one seen counts).
STEPS: Mapping[str, tuple[str, ...]] = {
    "detected": ("server_suspected",),
    "challenged": ("server_challenged",),
    "condemned": ("fence_requested",),
    "fenced": ("fence_executed", "fence_confirmed"),
    "owned": ("group_granted",),
    "activated": ("group_online",),
    "answered": ("client_answered",),
}


@dataclass(frozen=True, slots=True)
class Step:
    """`at_ms` counts from the start of the timeline; `server` is who reported it."""

    name: str
    at_ms: float
    server: str
    event: str


def failover_steps(
    events: Iterable[EventRecord], *, group: str, victim: str, start_wall: float
) -> tuple[Step, ...]:
    """Steps of the failover of `group` away from `victim`, from `start_wall` (seconds since 1970,
    e.g. the crash) on. Steps that left no event are absent. Times of different servers' clocks are
    taken as they are."""
    marks = {event: step for step, names in STEPS.items() for event in names}
    found: dict[str, Step] = {}
    for event in sorted(events, key=lambda record: record.at_wall):
        step = marks.get(event.name)
        if step is None or step in found or event.at_wall < start_wall:
            continue
        if _concerns(event, group, victim):
            found[step] = Step(step, (event.at_wall - start_wall) * 1000, event.server, event.name)
    # A client may be answered before the owner has told that all is up: by time, then by meaning.
    inside = [found[name] for name in STEPS if name in found]
    return tuple(sorted(inside, key=lambda step: step.at_ms))


def _concerns(event: EventRecord, group: str, victim: str) -> bool:
    fields = event.fields
    about_group = fields.get("group", group) == group
    about_server = "group" in fields or fields.get("victim", fields.get("server")) == victim
    return about_group and about_server


def timeline_lines(
    steps: Sequence[Step], *, width: int = 40, ascii_only: bool = False
) -> list[str]:
    """One line a step: name, milliseconds, milliseconds since the step before, a bar to scale."""
    if not steps:
        return ["no step of a failover was recorded"]
    end = max(step.at_ms for step in steps) or 1.0
    rows = []
    before = 0.0
    for step in steps:
        lead = round(before / end * width)
        length = max(1, round(step.at_ms / end * width) - lead)
        bar = " " * lead + ("#" if ascii_only else "█") * length
        rows.append(
            (step.name, f"{step.at_ms:.0f}", f"+{step.at_ms - before:.0f}", step.server, bar)
        )
        before = step.at_ms
    return table(("STEP", "MS", "AFTER", "BY", ""), rows)


def outage_lines(outages: Sequence[tuple[str, float]]) -> list[str]:
    """Table of outages as a client saw them: (what happened, seconds without an answer)."""
    return table(("EVENT", "OUTAGE"), [(name, f"{seconds:.2f} s") for name, seconds in outages])
