"""The lab that a benchmark runs in, with the groups that it needs, and who leads what there."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusterctl.demo.story import ADDRESS, PORT, Lab
from clusterctl.settings import Choice, resolve
from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.etcd import EtcdStore, TlsFiles

SERVICE = Path(__file__).with_name("service.py")
SERVERS = ("n1", "n2", "n3")
QUIET_S = 1.0
START_RUNS = 7


def interpreter() -> str:
    """The same Python without the virtual environment: it starts faster."""
    return str(Path(sys.executable).resolve())


def service_command(address: str, port: int) -> list[str]:
    return [interpreter(), "-I", "-S", str(SERVICE), address, str(port)]


def own_start_ms() -> float:
    """Median time from exec to the first answer of the service, alone on this machine."""
    times = []
    for _ in range(START_RUNS):
        began = time.monotonic()
        process = subprocess.Popen(service_command("127.0.0.1", 0), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        times.append((time.monotonic() - began) * 1000)
        process.kill()
        process.wait()
        process.stdout.close()
    return round(statistics.median(times), 1)


def web_specs() -> str:
    """The measured group, and one group that stays on each server: no server is without groups, so
    the store's leader stays where a benchmark puts it."""
    web = f"""apiVersion: clusterctl/v1
kind: Group
metadata: {{name: web}}
spec: {{servers: [n1, n2, n3], restarts: {{max: 100, window: 1h}}}}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: web-address}}
spec: {{group: web, type: floating-ip, address: {ADDRESS}/24}}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: web-server}}
spec:
  group: web
  type: application
  command: {json.dumps(service_command(ADDRESS, PORT))}
  startedWhen: {{port: {PORT}, address: {ADDRESS}}}
"""
    return web + "".join(_pinned(server) for server in SERVERS)


def _pinned(server: str) -> str:
    return f"""---
apiVersion: clusterctl/v1
kind: Group
metadata: {{name: on-{server}}}
spec: {{servers: [{server}]}}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: sleep-{server}}}
spec: {{group: on-{server}, type: application, command: [sleep, infinity]}}
"""


@contextmanager
def lab_of(profile: str, specs: str) -> Iterator[Lab]:
    """A fresh lab of three servers with these specs applied; gone at the end."""
    lab = Lab(Path(tempfile.mkdtemp(prefix="clusterctl-bench-")))
    try:
        lab.lab("up", "--servers", "3", "--profile", profile, "--detach")
        if specs:
            apply(lab, specs)
        yield lab
    finally:
        if (lab.directory / "lab.json").exists():
            lab.lab("down")


def apply(lab: Lab, specs: str) -> None:
    path = lab.directory / "bench.yaml"
    path.write_text(specs)
    lab.clusterctl("apply", "-f", str(path))


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.clusterctl("status", "-o", "json"))
    return found


def settle(lab: Lab, *groups: str) -> None:
    """Everything online and quiet before the next fault."""
    lab.wait_servers(len(SERVERS))
    for group in groups:
        lab.clusterctl("clear", f"group/{group}")
        lab.clusterctl("wait", f"group/{group}", "--for", "online", "--timeout", "60s")


def quiet() -> None:
    """The commands that prepared a fault have left the processors."""
    time.sleep(QUIET_S)


def leader_of(lab: Lab) -> str:
    members = status(lab)["store"]["members"]
    return str(next((m["server"] for m in members if m.get("leader")), ""))


def lead_with(lab: Lab, server: str) -> None:
    """Make this server's member the store's leader."""
    asyncio.run(_move_leader(lab, server))


async def _move_leader(lab: Lab, server: str) -> None:
    settings = resolve(Choice(context=str(lab.directory / "context.yaml")))
    assert settings.tls is not None
    tls = TlsFiles(settings.tls.ca, settings.tls.cert, settings.tls.key)
    store = EtcdStore.connect(settings.endpoints, tls, MonotonicClock())
    try:
        await store.move_leader(server, timeout_s=5.0)
    finally:
        await store.close()
