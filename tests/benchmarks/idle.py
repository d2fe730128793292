"""What a server costs while nothing happens: 10 groups, all on one server, and 20 monitors."""

import json
from pathlib import Path
from typing import Any

from clusterctl.demo.story import Lab
from tests.benchmarks import machine, place

GROUPS, OWNER = 10, "n1"
SECONDS = 60.0
SETTLE_S = 15.0
PARTS = {"reconciler.agent": "agent", "reconciler.pulse": "pulse", "reconciler.probe": "probe"}
PARTS |= {"reconciler.runner": "runner", "etcd --config-file": "etcd"}
COUNTED = ("agent", "pulse", "probe")


def specs() -> str:
    """Each group: an address and a web server; each with a `process` and an `http` monitor."""
    texts = []
    for number in range(GROUPS):
        name, address = f"g{number}", f"10.77.2.{101 + number}"
        ip = {"group": name, "type": "floating-ip", "address": f"{address}/24"}
        command = place.service_command(address, 8080)
        web = {"group": name, "type": "application", "command": command}
        http = {"type": "http", "activeWith": f"group/{name}", "url": f"http://{address}:8080/"}
        process = {"type": "process", "resource": f"{name}-web"}
        for kind, called, spec in (
            ("Group", name, {"servers": [OWNER, "n2", "n3"]}),
            ("Resource", f"{name}-address", ip),
            ("Resource", f"{name}-web", web),
            ("Monitor", f"{name}-http", {**http, "target": f"resource/{name}-web"}),
            ("Monitor", f"{name}-process", {**process, "target": f"resource/{name}-web"}),
        ):
            head = {"apiVersion": "clusterctl/v1", "kind": kind, "metadata": {"name": called}}
            texts.append(json.dumps({**head, "spec": spec}) + "\n")
    return "---\n".join(texts)


def measure(lab: Lab, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """One run for each server: {"server", "parts": {part: {cpu, rss, pss, wakes}}, sums}."""
    place.apply(lab, specs())
    for number in range(GROUPS):
        lab.clusterctl("wait", f"group/g{number}", "--for", "online", "--timeout", "60s")
    machine.busy_percent(SETTLE_S)
    pids = {pid: part for server in place.SERVERS for pid, part in _processes(lab, server).items()}
    servers = {pid: s for s in place.SERVERS for pid in _processes(lab, s)}
    costs = machine.cost_of(pids, seconds)
    coordinator = place.status(lab)["coordinator"]
    runs = []
    for server in place.SERVERS:
        parts: dict[str, dict[str, float]] = {}
        for pid, cost in costs.items():
            if servers[pid] == server:
                part = parts.setdefault(pids[pid], {"cpu": 0, "rss": 0, "pss": 0, "wakes": 0})
                for word in part:
                    part[word] = round(part[word] + getattr(cost, word), 2)
        counted = [parts[name] for name in COUNTED if name in parts]
        runs.append(
            {
                "server": server,
                "coordinator": server == coordinator,
                "parts": parts,
                "cpu_percent": round(sum(part["cpu"] for part in counted), 2),
                "agent_and_pulse_rss_mib": round(
                    sum(parts[name]["rss"] for name in ("agent", "pulse") if name in parts), 1
                ),
                "load": machine.load(),
            }
        )
    return runs


def _processes(lab: Lab, server: str) -> dict[int, str]:
    """Our processes of a server, as this machine numbers them: those below its init."""
    namespace = _namespace(lab, server)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns" / "pid").readlink() != namespace:
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        for mark, part in PARTS.items():
            if mark in command:
                found[int(entry.name)] = part
    return found


def _namespace(lab: Lab, server: str) -> Path:
    text = lab.lab("exec", server, "--", "readlink", "/proc/self/ns/pid")
    return Path(text.strip())
