"""200 resources from `apply` to online."""

import json
import time
from typing import Any

from clusterctl.demo.story import Lab
from tests.benchmarks import machine, place

GROUPS, EACH = 20, 10
LIMIT_S = 120.0


def specs() -> str:
    """Groups with one address and programs that only wait, spread over the servers."""
    texts = []
    for number in range(GROUPS):
        name = f"g{number:02}"
        servers = [place.SERVERS[(number + turn) % 3] for turn in range(3)]
        texts.append(_object("Group", name, {"servers": servers}))
        address = f"10.77.2.{101 + number}/24"
        ip = {"group": name, "type": "floating-ip", "address": address}
        texts.append(_object("Resource", f"{name}-address", ip))
        for program in range(EACH - 1):
            spec = {"group": name, "type": "application", "command": ["sleep", "infinity"]}
            texts.append(_object("Resource", f"{name}-p{program}", spec))
    return "---\n".join(texts)


def apply_to_online(lab: Lab) -> dict[str, Any]:
    place.quiet()
    told = {"busy_percent": machine.busy_percent(0.5), "load": machine.load()}
    began = time.time()
    place.apply(lab, specs())
    applied = time.time()
    online: dict[str, float] = {}
    while len(online) < GROUPS and time.time() - began < LIMIT_S:
        time.sleep(0.5)
        online = _online_at(lab, began)
    if len(online) < GROUPS:
        raise TimeoutError(f"{len(online)} of {GROUPS} groups came online in {LIMIT_S:.0f} s")
    done = max(online.values())
    return {"ms": round((done - began) * 1000, 1), "apply_ms": (applied - began) * 1000, **told}


def _online_at(lab: Lab, began: float) -> dict[str, float]:
    """When each group was first online, by the event of its owner."""
    seconds = int(time.time() - began) + 2
    text = lab.clusterctl("events", "--since", f"{seconds}s", "-o", "json")
    found: dict[str, float] = {}
    for event in json.loads(text) or []:
        if event["name"] == "group_online" and event["at_wall"] >= began:
            found.setdefault(event["fields"]["group"], event["at_wall"])
    return found


def _object(kind: str, name: str, spec: dict[str, Any]) -> str:
    return (
        json.dumps(
            {"apiVersion": "clusterctl/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        )
        + "\n"
    )
