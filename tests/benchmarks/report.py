"""Runs as a table: minimum, median, maximum, the goal, and whether the median keeps it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusterctl.render.table import table

Run = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """`limit` in the unit of the runs; the service's own start (`starts` times) comes on top.
    `at_least`: more is better."""

    limit: float
    starts: int = 0
    at_least: bool = False


GOALS: dict[tuple[str, str], Goal] = {
    ("crash", "default"): Goal(400),
    ("crash-head", "default"): Goal(900),
    ("crash", "fast-lan"): Goal(300),
    ("crash-head", "fast-lan"): Goal(500),
    **{("kill", profile): Goal(100, 1) for profile in ("default", "fast-lan")},
    **{("address", profile): Goal(50) for profile in ("default", "fast-lan")},
    **{("move", profile): Goal(100, 1) for profile in ("default", "fast-lan")},
    ("apply", "default"): Goal(15000),
    ("idle-cpu", "default"): Goal(2.0),
    ("idle-memory", "default"): Goal(110),
    ("soak", "default"): Goal(0),
    ("mirror-sync-seq", "default"): Goal(0.6, at_least=True),
    ("mirror-sync-fsync", "default"): Goal(0.5, at_least=True),
    ("mirror-sync-depth8", "default"): Goal(25000, at_least=True),
    ("mirror-async-seq", "default"): Goal(0.75, at_least=True),
    ("mirror-sync-seq-own-disks", "default"): Goal(0.6, at_least=True),
    ("mirror-async-seq-own-disks", "default"): Goal(0.75, at_least=True),
    ("mirror-peer-dies", "default"): Goal(20),
    ("mirror-peer-dies-lab", "default"): Goal(20),
    ("mirror-peer-silent", "default"): Goal(2.5),
    ("mirror-resync", "default"): Goal(250, at_least=True),
    ("mirror-resync-latency", "default"): Goal(3),
    ("mirror-memory", "default"): Goal(60),
}
OF_BASE = "x base line"
UNITS = {
    "idle-cpu": "% of a core",
    "idle-memory": "MiB",
    "soak": "suspicions",
    "mirror-sync-seq": OF_BASE,
    "mirror-sync-fsync": OF_BASE,
    "mirror-sync-depth8": "IOPS",
    "mirror-async-seq": OF_BASE,
    "mirror-sync-seq-own-disks": OF_BASE,
    "mirror-async-seq-own-disks": OF_BASE,
    "mirror-peer-silent": "s",
    "mirror-resync": "MiB/s",
    "mirror-resync-latency": "x before",
    "mirror-memory": "MiB",
}


def outcome(goal: Goal | None, value: float, own_start_ms: float) -> tuple[str, str]:
    """The goal as shown, and `hit` or `miss`."""
    if goal is None:
        return "", ""
    if goal.at_least:
        return f">= {goal.limit:g}", "hit" if value >= goal.limit else "miss"
    limit = goal.limit + goal.starts * own_start_ms
    shown = f"{goal.limit:g}" + (f" + {goal.starts * own_start_ms:.0f}" if goal.starts else "")
    return shown, "hit" if value <= limit else "miss"


def summary(runs: Sequence[Run], own_start_ms: float) -> list[str]:
    """One row for each benchmark and profile. Crashes that met other roles are told apart."""
    rows = []
    for name, profile, roles in sorted({_case(run) for run in runs}):
        values = [run["value"] for run in runs if _case(run) == (name, profile, roles)]
        median = statistics.median(values)
        shown, hit = outcome(GOALS.get((name, profile)), median, own_start_ms)
        numbers = (f"{number:g}" for number in (min(values), round(median, 2), max(values)))
        unit = UNITS.get(name, "ms")
        rows.append((name + roles, profile, str(len(values)), *numbers, unit, shown, hit))
    heads = ("BENCHMARK", "PROFILE", "RUNS", "MIN", "MEDIAN", "MAX", "UNIT", "GOAL", "")
    return table(heads, rows)


def _case(run: Run) -> tuple[str, str, str]:
    return run["benchmark"], run["profile"], f" {run['roles']}" if "roles" in run else ""


def phases(runs: Sequence[Run]) -> list[str]:
    """Median milliseconds since the last answer at which each step came."""
    rows = []
    for name, profile, roles in sorted({_case(run) for run in runs if run.get("steps")}):
        steps = [run["steps"] for run in runs if _case(run) == (name, profile, roles)]
        names = dict.fromkeys(step for one in steps for step in one)
        medians = {
            step: statistics.median(one[step] for one in steps if step in one) for step in names
        }
        told = "  ".join(f"{s} {at:.0f}" for s, at in sorted(medians.items(), key=lambda i: i[1]))
        rows.append((name + roles, profile, told))
    return table(("BENCHMARK", "PROFILE", "STEPS, MS"), rows) if rows else []


def where_it_goes(runs: Sequence[Run]) -> list[str]:
    """The parts of each server's idle cost."""
    rows = []
    for run in runs:
        for part, cost in sorted(run.get("parts", {}).items()):
            server = run["server"] + (" (coordinator)" if run["coordinator"] else "")
            words = (f"{cost[word]:g}" for word in ("cpu", "wakes", "rss", "pss"))
            rows.append((server, part, *words))
    return table(("SERVER", "PART", "CPU %", "WAKES/S", "RSS MIB", "PSS MIB"), rows) if rows else []
