"""`python -m tests.benchmarks [--runs 5] [--json FILE]`: outages as a client sees them.

One lab of three servers with examples/01-web. Each fault is repeated; what counts is the time
between the last and the first answer of the floating address, asked every 5 ms. Where the store's
leader and the coordinator were at a crash is noted, because an election is part of the outage then.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from clusterctl.demo.story import Client, Lab, events_since, example_files, running_client
from clusterctl.render.table import table
from clusterctl.render.timeline import failover_steps
from reconciler.decide.records import EventRecord

Run = dict[str, Any]


def _status(lab: Lab) -> Run:
    found: Run = json.loads(lab.clusterctl("status", "-o", "json"))
    return found


def _roles(lab: Lab, server: str) -> str:
    status = _status(lab)
    leader = [m["server"] for m in status["store"]["members"] if m.get("leader")]
    words = []
    if server in leader:
        words.append("leader")
    if status.get("coordinator") == server:
        words.append("coordinator")
    return "owner" + "".join(f"+{word}" for word in words)


async def crash(lab: Lab, client: Client) -> Run:
    owner = await asyncio.to_thread(lab.owner)
    roles = await asyncio.to_thread(_roles, lab, owner)
    seen, began = len(client.outages), time.time()
    await asyncio.to_thread(lab.lab, "crash", owner)
    outage = await client.next_outage(seen)
    await asyncio.to_thread(lab.wait_servers, 3)
    events = [EventRecord.model_validate(e) for e in events_since(lab, began)]
    steps = failover_steps(events, group="web", victim=owner, start_wall=outage.began)
    return {"ms": outage.ms, "case": roles, "steps": {s.name: round(s.at_ms, 1) for s in steps}}


async def move(lab: Lab, client: Client) -> Run:
    seen = len(client.outages)
    await asyncio.to_thread(lab.clusterctl, "move", "web")
    outage = await client.next_outage(seen)
    return {"ms": outage.ms, "case": "move"}


async def kill_service(lab: Lab, client: Client) -> Run:
    # A new epoch: the group's restarts in place are limited, and the next one would be a failover.
    seen = len(client.outages)
    await asyncio.to_thread(lab.clusterctl, "move", "web")
    await client.next_outage(seen)
    owner = await asyncio.to_thread(lab.owner)
    seen = len(client.outages)
    record = "/run/clusterctl/runners/web-server/runner.json"
    text = await asyncio.to_thread(lab.lab, "exec", owner, "--", "cat", record)
    pid = str(json.loads(text)["main"]["pid"])
    await asyncio.to_thread(lab.lab, "exec", owner, "--", "kill", "-9", pid)
    outage = await client.next_outage(seen, same_server=True)
    return {"ms": outage.ms, "case": "service"}


FAULTS: dict[str, Callable[[Lab, Client], Awaitable[Run]]] = {
    "server crash": crash,
    "planned move": move,
    "service kill -9": kill_service,
}


async def measure(lab: Lab, runs: int, only: str | None = None) -> list[Run]:
    results = []
    async with running_client(lab) as client:
        chosen = {name: fault for name, fault in FAULTS.items() if only in (None, name)}
        for name, fault in chosen.items():
            for number in range(runs):
                await asyncio.to_thread(settle, lab)
                load = os.getloadavg()[0]
                result = {"fault": name, "run": number, "load": round(load, 2)}
                result.update(await fault(lab, client))
                results.append(result)
                print(json.dumps(result), file=sys.stderr)
    return results


def settle(lab: Lab) -> None:
    """Everything online and quiet before the next fault; a session's old lease has run out."""
    lab.wait_servers(3)
    lab.clusterctl("clear", "group/web")
    lab.clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")


def summary(results: list[Run]) -> list[str]:
    rows = []
    for fault, case in sorted({(r["fault"], r["case"]) for r in results}):
        found = [r["ms"] for r in results if (r["fault"], r["case"]) == (fault, case)]
        numbers = (min(found), statistics.median(found), max(found))
        rows.append((fault, case, str(len(found)), *(f"{n:.0f}" for n in numbers)))
    return table(("FAULT", "CASE", "RUNS", "MIN MS", "MEDIAN MS", "MAX MS"), rows)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=sorted(FAULTS), help="one fault instead of all")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    options = parser.parse_args()
    lab = Lab(Path(tempfile.mkdtemp(prefix="clusterctl-bench-")))
    try:
        lab.lab("up", "--servers", "3", "--detach")
        lab.clusterctl("apply", *example_files())
        results = asyncio.run(measure(lab, options.runs, options.only))
    finally:
        if (lab.directory / "lab.json").exists():
            lab.lab("down")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(summary(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
