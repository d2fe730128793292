"""Drivers and monitors of this checkout inside a guest, moved by a test outside (`driving.py`).

    python -m tests.guests.drive SERVER

One JSON object a line over the virtio port "drive". In: {"number", "do", …}; out: {"number",
"result"} or {"number", "error"}. Where the product would ask the store, it asks the test:
{"ask": "read" | "swap" | "consent", …} out, {"answer", …} in.
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.adapters.linux.host import LinuxHost
from reconciler.adapters.linux.probes import LinuxProbes
from reconciler.binding import BoundDriver, bind
from reconciler.mirror.decide.promotion import Current
from reconciler.plugin import MonitorType, Place, ResourceType, Site
from reconciler.ports.disks import ConsentRefused
from reconciler.ports.driver import Permit, PermitExpired, ResourceError
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import RecordLost, RecordUnavailable
from reconciler.ports.probes import ProbeUnavailable
from specs.load import Source, load
from tests.resources.places import REGISTRY, RealClock

RUN = Path("/run/clusterctl")
KEY = Path("/run/cluster-key")
SERVERS = {f"n{number}": {"private": f"10.77.0.{number}"} for number in (1, 2)}


def _port() -> int:
    for found in Path("/sys/class/virtio-ports").glob("*"):
        if (found / "name").read_text().strip() == "drive":
            return os.open(f"/dev/{found.name}", os.O_RDWR | os.O_NONBLOCK)
    raise OSError("there is no port to the test")


class Outside:
    """The test: it takes events, and holds what the store would."""

    def __init__(self, port: int) -> None:
        self._port, self._numbers = port, itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def send(self, content: dict[str, Any]) -> None:
        line = json.dumps(content).encode() + b"\n"
        os.set_blocking(self._port, True)
        try:
            while line:
                line = line[os.write(self._port, line) :]
        finally:
            os.set_blocking(self._port, False)

    async def ask(self, what: str, **fields: Any) -> Any:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send({"ask": what, "about": number, **fields})
        answer = await future
        for name, kind in (("lost", RecordLost), ("away", RecordUnavailable)):
            if name in answer:
                raise kind(answer[name])
        return answer["answer"]

    def answered(self, content: dict[str, Any]) -> None:
        self._waiting.pop(content["about"]).set_result(content)

    def emit(self, name: str, /, **fields: Any) -> None:
        self.send({"event": name, "fields": fields})

    # -- `ports.mirrors.MirrorRecords`

    async def read(self, resource: str) -> Current | None:
        found = await self.ask("read", resource=resource)
        return _current(found)

    async def commit(
        self,
        resource: str,
        group: str,
        epoch: int,
        change: Callable[[Current | None], Current | None],
    ) -> Current:
        found = await self.ask("read", resource=resource)
        new = change(_current(found))
        if new is None:
            raise RecordLost("the mirror's record says otherwise")
        wanted = [list(new.servers), new.generation, new.epoch]
        server = os.uname().nodename
        await self.ask("swap", resource=resource, epoch=epoch, old=found, new=wanted, server=server)
        return new

    # -- `ports.disks.Consents`

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:
        try:
            await self.ask("consent", resource=resource, epoch=epoch, consent=consent)
        except RecordLost as error:
            raise ConsentRefused(str(error)) from None


def _current(found: Any) -> Current | None:
    return None if found is None else Current(tuple(found[0]), str(found[1]), int(found[2]))


class Drive:
    def __init__(self, server: str, outside: Outside) -> None:
        KEY.write_text(json.dumps({"keys": ["0123456789abcdef" * 4]}))
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._server, self._outside = server, outside
        self._host, self._probes = LinuxHost(RUN, None, KEY, boot), LinuxProbes()
        self._drivers: dict[str, BoundDriver] = {}
        self._specs: dict[str, Any] = {}
        self._permitted = True
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def obey(self, order: dict[str, Any]) -> Any:
        return await getattr(self, f"do_{order['do']}")(order)

    async def do_open(self, order: dict[str, Any]) -> None:
        specs = load([Source("test.yaml", str(order["spec"]).encode())], REGISTRY)
        for name, resource in specs.resources.items():
            self._specs[name] = resource
            assert isinstance(resource.spec, ResourceType)
            place = Place(
                name=name,
                group=resource.spec.group,
                server=self._server,
                host=self._host,
                clock=RealClock(),
                events=self._outside,
                run_directory=RUN,
                probes=self._probes,
                servers=lambda: SERVERS,
                records=self._outside,
                consents=self._outside,
            )
            self._drivers[name] = bind(resource, place)

    async def do_follow(self, order: dict[str, Any]) -> None:
        driver = self._drivers[order["name"]]
        task = asyncio.create_task(driver.spec.follow(driver.place))
        self._tasks[order["name"]] = task

    async def do_observe(self, order: dict[str, Any]) -> Any:
        found = await self._drivers[order["name"]].observe()
        return {"state": found.state.value, "reason": found.reason, "epoch": found.epoch}

    async def do_permit(self, order: dict[str, Any]) -> None:
        self._permitted = bool(order["valid"])

    async def do_activate(self, order: dict[str, Any]) -> None:
        permit = Permit(order["epoch"], lambda: self._permitted)
        await self._drivers[order["name"]].activate(permit)

    async def do_deactivate(self, order: dict[str, Any]) -> None:
        await self._drivers[order["name"]].deactivate(order["epoch"])

    async def do_sample(self, order: dict[str, Any]) -> Any:
        specs = load([Source("test.yaml", str(order["spec"]).encode())], REGISTRY)
        (monitor,) = specs.monitors.values()
        assert isinstance(monitor.spec, MonitorType)
        resources = {**self._specs, **specs.resources}
        site = Site(monitor.metadata.name, self._server, self._host, self._probes, resources)
        said = await monitor.spec.sample(site)
        return {"healthy": said.healthy, "reason": said.reason}

    async def do_look(self, order: dict[str, Any]) -> Any:
        view = await self._host.mirrors.view(order["name"])
        if view is None:
            return None
        return {
            "serves": view.serves,
            "epoch": view.epoch,
            "over": view.over,
            "suspended": view.suspended,
            "header": view.header.to_json(),
            "details": dict(view.details),
        }

    async def do_ask(self, order: dict[str, Any]) -> Any:
        return dict(await self._host.mirrors.ask(order["name"], order["request"]))


async def main(server: str) -> None:
    port, rest, tasks = _port(), b"", set[asyncio.Task[None]]()
    outside = Outside(port)
    drive = Drive(server, outside)
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(port, arrived.set)

    async def run(order: dict[str, Any]) -> None:
        said: dict[str, Any] = {"number": order["number"]}
        try:
            said["result"] = await drive.obey(order)
        except (ResourceError, HostError, PermitExpired, ProbeUnavailable) as error:
            said["error"] = f"{type(error).__name__}: {error}"
        outside.send(said)

    outside.emit("ready")
    while True:
        await arrived.wait()
        arrived.clear()
        try:
            got = os.read(port, 65536)
        except BlockingIOError:
            continue
        if not got:
            await asyncio.sleep(0.1)  # the test is not connected
            arrived.set()
            continue
        arrived.set()
        *lines, rest = (rest + got).split(b"\n")
        for line in lines:
            content = json.loads(line)
            if "about" in content:
                outside.answered(content)
                continue
            task = asyncio.create_task(run(content))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
