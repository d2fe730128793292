"""`python -m tests.benchmarks [NAME…] [--profile P] [--runs 5] [--soak MINUTES] [--json FILE]`.

Each benchmark runs in a lab of three servers with TLS, but for the engines of `mirror`. Outages
are what a client sees that asks the floating address every 5 ms. Every run is printed as one JSON
line, with the machine's load, as soon as it is over; at the end come the tables.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusterctl.demo.story import Client, Lab
from tests.benchmarks import idle, mirror, mirror_lab, place, report, scale, soak
from tests.benchmarks.faults import FAULTS

PROFILES = ("default", "fast-lan")
OTHERS = ("apply", "idle", "mirror")
GAP_MS = 12
Run = dict[str, Any]


async def _measure_faults(lab: Lab, profile: str, names: list[str], runs: int) -> list[Run]:
    results = []
    async with Client(lab, GAP_MS) as client:
        for name in names:
            for number in range(runs):
                await asyncio.to_thread(place.settle, lab, "web")
                run: Run = {"benchmark": name, "profile": profile, "run": number}
                try:
                    found = await FAULTS[name](lab, client)
                except Exception as error:  # noqa: BLE001 - the other runs are worth having
                    print(json.dumps({**run, "failed": repr(error)}), file=sys.stderr)
                    continue
                results.append({**run, "value": found.pop("ms"), **found})
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    return results


def _faults(profile: str, names: list[str], runs: int) -> list[Run]:
    if not names:
        return []
    with place.lab_of(profile, place.web_specs()) as lab:
        for server in place.SERVERS:
            place.settle(lab, f"on-{server}")
        return asyncio.run(_measure_faults(lab, profile, names, runs))


def _apply(runs: int) -> Iterator[Run]:
    for number in range(runs):
        with place.lab_of("default", "") as lab:
            found = scale.apply_to_online(lab)
        yield {"benchmark": "apply", "run": number, "value": found.pop("ms"), **found}


def _idle(seconds: float) -> Iterator[Run]:
    with place.lab_of("default", "") as lab:
        for run in idle.measure(lab, seconds):
            memory = run["agent_and_pulse_rss_mib"]
            yield {"benchmark": "idle-cpu", "value": run["cpu_percent"], **run}
            yield {"benchmark": "idle-memory", "value": memory, "server": run["server"]}


def _soak(minutes: float) -> Iterator[Run]:
    with place.lab_of("default", place.web_specs()) as lab:
        place.settle(lab, "web")
        for run in soak.soak(lab, minutes):
            yield {"benchmark": "soak", "value": run["false"], **run}


def _told(runs: Iterator[Run]) -> list[Run]:
    found = []
    for run in runs:
        found.append({"profile": "default", **run})
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", choices=[*FAULTS, *OTHERS, []], metavar="NAME")
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=idle.SECONDS, help="of the idle cost")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    names = options.names or ([] if options.soak else [*FAULTS, *OTHERS])
    own_start_ms = place.own_start_ms()
    runs: list[Run] = []
    for profile in options.profile or PROFILES:
        runs += _faults(profile, [name for name in names if name in FAULTS], options.runs)
    if "apply" in names:
        runs += _told(_apply(min(options.runs, 3)))
    if "idle" in names:
        runs += _told(_idle(options.seconds))
    if "mirror" in names:
        runs += _told(mirror.measure(min(options.runs, 3)))
        runs += _told(mirror_lab.measure(options.runs))
    if options.soak:
        runs += _told(_soak(options.soak))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"own_start_ms": own_start_ms, "runs": runs}, indent=1) + "\n"
    )
    sections = (report.summary(runs, own_start_ms), report.phases(runs), report.where_it_goes(runs))
    print("\n\n".join("\n".join(section) for section in sections if section))
    print(f"\nthe service's own start: {own_start_ms:g} ms; all runs: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
