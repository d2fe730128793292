"""Outages as a client sees them: what is broken, and what the cluster did until it was answered.

Each fault prepares the roles that it needs, waits until the machine is quiet, breaks one thing, and
returns one run: {"ms", "steps" (ms since the last answer, where there is a timeline)}.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from clusterctl.demo.story import ADDRESS, Client, Lab, Outage, events_since
from clusterctl.render.timeline import failover_steps
from reconciler.decide.records import EventRecord
from tests.benchmarks import machine, place

Run = dict[str, Any]
LOAD_LOOK_S = 0.5
WINDOW_S = 2.5
EVENTS_S = 20.0
TRIES = 5


async def crash(lab: Lab, client: Client) -> Run:
    """The owner's server; neither the store's leader nor the coordinator."""
    status = await _away(place.status, lab)
    victim = next(s for s in place.SERVERS if s not in (status["coordinator"], _leader(status)))
    return await _crash(lab, client, victim, {"leader": False, "coordinator": False})


async def crash_head(lab: Lab, client: Client) -> Run:
    """The owner's server, which is the coordinator and leads the store too."""
    victim = str((await _away(place.status, lab))["coordinator"])
    return await _crash(lab, client, victim, {"leader": True, "coordinator": True})


async def _crash(lab: Lab, client: Client, victim: str, roles: Mapping[str, bool]) -> Run:
    await _own(lab, client, victim)
    await _lead(lab, victim, leads=roles["leader"])
    found = await _away(place.status, lab)
    now = {"leader": _leader(found) == victim, "coordinator": found["coordinator"] == victim}
    told = await _before()
    seen, began = len(client.outages), time.time()
    await _away(lab.lab, "crash", victim)
    outage = await _next(client, seen, began)
    await _away(lab.wait_servers, len(place.SERVERS))
    steps = await _away(_crash_steps, lab, victim, outage.began)
    result = {"ms": outage.ms, "steps": steps, **told}
    return result if now == roles else {**result, "roles": now}


def _crash_steps(lab: Lab, victim: str, began: float) -> dict[str, float]:
    """Events reach the store a while after what they tell; without them the outage still counts."""
    end = time.monotonic() + EVENTS_S
    while True:
        records = [EventRecord.model_validate(event) for event in events_since(lab, began)]
        steps = failover_steps(records, group="web", victim=victim, start_wall=began)
        found = {step.name: round(step.at_ms, 1) for step in steps}
        if "activated" in found or time.monotonic() > end:
            return found
        time.sleep(0.5)


async def _own(lab: Lab, client: Client, server: str) -> None:
    if await _away(lab.owner) == server:
        return
    seen = len(client.outages)
    await _away(lab.clusterctl, "move", "web", "--to", server)
    await client.next_outage(seen)


async def _lead(lab: Lab, victim: str, *, leads: bool) -> None:
    """The leader on the victim, or somewhere else."""
    for _ in range(TRIES):
        leader = await _away(place.leader_of, lab)
        if (leader == victim) is leads:
            return
        target = victim if leads else next(s for s in place.SERVERS if s != victim)
        await _away(place.lead_with, lab, target)


async def kill_service(lab: Lab, client: Client) -> Run:
    """SIGKILL to the program."""
    owner = await _away(lab.owner)
    record = "/run/clusterctl/runners/web-server/runner.json"
    text = await _away(lab.lab, "exec", owner, "--", "cat", record)
    pid = str(json.loads(text)["main"]["pid"])
    told = await _before()
    seen, began = len(client.outages), time.time()
    await _away(lab.lab, "exec", owner, "--", "kill", "-9", pid)
    return {"ms": await _longest(client, seen, began), **told}


async def delete_address(lab: Lab, client: Client) -> Run:
    """The floating address, removed by hand."""
    owner = await _away(lab.owner)
    told = await _before()
    seen, began = len(client.outages), time.time()
    await _away(
        lab.lab, "exec", owner, "--", "ip", "address", "del", f"{ADDRESS}/24", "dev", "eth1"
    )
    return {"ms": await _longest(client, seen, began), **told}


async def move(lab: Lab, client: Client) -> Run:
    """The group to another server, as an operator asks."""
    told = await _before()
    seen, began = len(client.outages), time.time()
    await _away(lab.clusterctl, "move", "web")
    outage = await _next(client, seen, began)
    events = await _away(events_since, lab, began)
    return {"ms": outage.ms, "steps": _move_steps(events, outage.began), **told}


MOVE_STEPS = {
    "group_release_requested": "requested",
    "group_stopped": "stopped",
    "group_released": "released",
    "group_granted": "owned",
    "group_online": "activated",
}


def _move_steps(events: list[dict[str, Any]], began: float) -> dict[str, float]:
    steps = {}
    for event in sorted(events, key=lambda one: one["at_wall"]):
        name = MOVE_STEPS.get(event["name"])
        if name is not None and event["fields"].get("group") == "web":
            steps[name] = round((event["at_wall"] - began) * 1000, 1)
    return steps


FAULTS: dict[str, Callable[[Lab, Client], Awaitable[Run]]] = {
    "crash": crash,
    "crash-head": crash_head,
    "kill": kill_service,
    "address": delete_address,
    "move": move,
}


async def _before() -> Run:
    await _away(place.quiet)
    return {"busy_percent": await _away(machine.busy_percent, LOAD_LOOK_S), "load": machine.load()}


async def _next(client: Client, seen: int, began: float) -> Outage:
    """The outage at whose end another server answers; raises `TimeoutError`."""
    async with asyncio.timeout(60.0):
        while True:
            for outage in client.outages[seen:]:
                if outage.ended >= began and outage.before != outage.after:
                    return outage
            await asyncio.sleep(0.05)


async def _longest(client: Client, seen: int, began: float) -> float:
    """Milliseconds of the longest outage within the next seconds: a loaded machine leaves small
    gaps of its own."""
    await asyncio.sleep(WINDOW_S)
    found = [outage.ms for outage in client.outages[seen:] if outage.ended >= began]
    return max(found, default=float(client.gap_ms))


async def _away(function: Callable[..., Any], *words: Any) -> Any:
    """In a thread: the client's reports are read meanwhile."""
    return await asyncio.to_thread(function, *words)


def _leader(status: Mapping[str, Any]) -> str:
    members = status["store"]["members"]
    return str(next((m["server"] for m in members if m.get("leader")), ""))
