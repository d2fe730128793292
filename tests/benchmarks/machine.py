"""What this machine and single processes did meanwhile: load, CPU time, memory. Read from /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in percent of one core; memory in MiB; `wakes`: voluntary context switches a second."""

    cpu: float
    rss: float
    pss: float
    wakes: float


def busy_percent(seconds: float) -> float:
    """How busy all cores together are during the next `seconds`."""
    before, idle_before = _cpu_times()
    time.sleep(seconds)
    after, idle_after = _cpu_times()
    return round(100 * (1 - (idle_after - idle_before) / max(1, after - before)), 1)


def load() -> float:
    return round(os.getloadavg()[0], 2)


def cost_of(pids: dict[int, str], seconds: float) -> dict[int, Cost]:
    """What each process costs during the next `seconds`; one that ends is left out."""
    before = {pid: _used(pid) for pid in pids}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    costs = {}
    for pid, first in before.items():
        last = _used(pid)
        if first is None or last is None:
            continue
        rss, pss = _memory(pid)
        cpu = 100 * (last[0] - first[0]) / took
        costs[pid] = Cost(round(cpu, 2), rss, pss, round((last[1] - first[1]) / took, 1))
    return costs


def _cpu_times() -> tuple[int, int]:
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


def _used(pid: int) -> tuple[float, int] | None:
    """CPU seconds (nanosecond clock of the scheduler) and voluntary switches of all threads."""
    run, switches = 0, 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            run += int((task / "schedstat").read_text().split()[0])
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    switches += int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return run / 1e9, switches


def _memory(pid: int) -> tuple[float, float]:
    rss = pss = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Rss":
                rss = int(rest.split()[0]) / 1024
            elif name == "Pss":
                pss = int(rest.split()[0]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    return round(rss, 1), round(pss, 1)
