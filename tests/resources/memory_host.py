"""A host without an operating system: the twin of `adapters.linux` for tests of types.

A `Wire` joins the hosts of one subnet, so that a probe on one finds an address on another.
"""

import asyncio
import hashlib
import ipaddress
from dataclasses import dataclass, field, replace

from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import (
    HeldAddress,
    HostError,
    RunnerState,
    RunnerView,
    StopPlan,
    Workload,
)
from tests.resources.memory_disks import (
    Changes,
    MemoryDisks,
    MemoryMirrors,
    MemoryRecords,
    MemoryVolumes,
)


@dataclass
class Wire:
    """All hosts that hear each other, by MAC."""

    networks: dict[str, "MemoryNetwork"] = field(default_factory=dict)
    announcements: list[tuple[str, str]] = field(default_factory=list)


class MemoryNetwork:
    def __init__(self, wire: Wire, mac: str, own: str, interface: str = "eth0") -> None:
        parsed = ipaddress.ip_interface(own)
        self.held = [HeldAddress(str(parsed.ip), parsed.network.prefixlen, interface)]
        self.wire, self.mac = wire, mac
        self.hangs = self.cut = False
        self.changes = Changes()
        wire.networks[mac] = self

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def addresses(self) -> tuple[HeldAddress, ...]:
        await self._answer()
        return tuple(self.held)

    async def interface_for(self, address: str) -> str | None:
        found = self._subnet(address)
        return found.interface if found else None

    async def prefix_for(self, address: str, interface: str) -> int | None:
        found = self._subnet(address)
        return found.prefix if found and found.interface == interface else None

    def _subnet(self, address: str) -> HeldAddress | None:
        plain = ipaddress.ip_address(address)
        for one in self.held:
            network = ipaddress.ip_interface(f"{one.address}/{one.prefix}").network
            if one.owner is None and one.address != address and plain in network:
                return one
        return None

    async def add_address(self, address: str, interface: str, owner: str, permit: Permit) -> None:
        await self._answer()
        parsed = ipaddress.ip_interface(address)
        held = HeldAddress(str(parsed.ip), parsed.network.prefixlen, interface, owner, permit.epoch)
        permit.check()
        self._drop(held)
        self.held.append(held)
        self.changes.tell()
        if not permit.is_valid():
            self._drop(held)
            raise PermitExpired("too late")

    async def remove_address(self, held: HeldAddress) -> None:
        await self._answer()
        self._drop(held)
        self.changes.tell()

    def _drop(self, held: HeldAddress) -> None:
        where = (held.address, held.prefix, held.interface)
        self.held = [one for one in self.held if (one.address, one.prefix, one.interface) != where]

    async def probe(self, address: str, interface: str, window_s: float = 0.03) -> str | None:
        await self._answer()
        for mac, network in self.wire.networks.items():
            if network is not self and any(one.address == address for one in network.held):
                return mac
        return None

    async def announce(self, address: str, interface: str) -> None:
        if self.cut:
            raise HostError("the network is down")
        self.wire.announcements.append((self.mac, address))

    async def accepts(self, address: str, port: int, timeout_s: float) -> bool:
        return True

    async def changed(self) -> None:
        await self.changes.wait()


class MemoryRunners:
    def __init__(self) -> None:
        self.views: dict[str, RunnerView] = {}
        self.workloads: dict[str, Workload] = {}
        self.plans: list[StopPlan] = []
        self.exit_codes: dict[str, int] = {}
        self.hangs = False
        self.started = 0
        self.changes = Changes()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.views))

    async def prepare(self) -> None:
        await asyncio.sleep(0)

    async def observe(self, name: str) -> RunnerView:
        await asyncio.sleep(0)
        return self.views.get(name, RunnerView(RunnerState.ABSENT))

    async def start(self, name: str, workload: Workload, permit: Permit) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)
        if name in self.views:
            raise HostError("there already")
        permit.check()
        self.started += 1
        self.workloads[name] = workload
        self.views[name] = RunnerView(
            RunnerState.RUNNING, permit.epoch, 1000 + self.started, is_held=True
        )
        self.changes.tell()
        if workload.keep_after_exit or name in self.exit_codes:
            self.end(name, self.exit_codes.get(name, 0))
        if not permit.is_valid():
            del self.views[name]
            raise PermitExpired("too late")

    def end(self, name: str, code: int) -> None:
        """The program ends by itself."""
        self.views[name] = replace(self.views[name], state=RunnerState.EXITED, exit_code=code)
        self.changes.tell()

    async def stop(self, name: str, epoch: int, plan: StopPlan) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)
        view = self.views.get(name)
        if view is None or (view.epoch or 0) > epoch:
            return
        self.plans.append(plan)
        del self.views[name]
        self.changes.tell()

    async def kill(self, name: str, epoch: int) -> None:
        await asyncio.sleep(0)
        view = self.views.get(name)
        if view is not None and (view.epoch or 0) <= epoch and view.state is RunnerState.RUNNING:
            self.end(name, -9)

    async def changed(self, name: str, seen: RunnerState | None = None) -> None:
        if seen is not None and (await self.observe(name)).state is not seen:
            return
        await self.changes.wait()

    def log_tail(self, name: str, limit_bytes: int = 2000) -> str:
        return "listening\naddress already in use\n"


class MemoryScripts:
    def __init__(self) -> None:
        self.problem = ""
        self.texts: dict[str, str] = {}

    async def place(self, text: str) -> str:
        if self.problem:
            raise HostError(self.problem)
        path = f"/scripts/{hashlib.sha256(text.encode()).hexdigest()}"
        self.texts[path] = text
        return path


class MemoryHost:
    """One server on a wire. `traces` is everything that a resource may leave on it."""

    def __init__(self, wire: Wire | None = None, mac: str = "02:00:00:00:00:01") -> None:
        last = 10 + len(wire.networks) if wire else 10
        self.network = MemoryNetwork(wire or Wire(), mac, f"10.77.2.{last}/24")
        self.runners = MemoryRunners()
        self.scripts = MemoryScripts()
        self.mirrors = MemoryMirrors()
        self.volumes = MemoryVolumes()
        self.disks = MemoryDisks()
        self.records = MemoryRecords()

    def hang(self) -> None:
        self.network.hangs = self.runners.hangs = True
        self.mirrors.hangs = self.volumes.hangs = self.disks.hangs = True

    def wipe(self) -> None:
        """What an administrator's hand or a crash does: everything is gone."""
        self.network.held = [one for one in self.network.held if one.owner is None]
        self.runners.views.clear()
        self.mirrors.serving.clear()
        self.mirrors.running.clear()
        self.volumes.mounts.clear()
        self.disks.holders.clear()
        self.volumes.changes.tell()
        self.mirrors.changes.tell()
        self.network.changes.tell()
        self.runners.changes.tell()

    def traces(self) -> tuple[object, ...]:
        ours = [one for one in self.network.held if one.owner is not None]
        views = sorted(self.runners.views.items(), key=lambda item: item[0])
        mirrors, mounts = self.mirrors.serving.items(), self.volumes.mounts.items()
        reserved = sorted(self.disks.holders.items())
        return (*ours, *views, *sorted(mirrors), *sorted(mounts), *reserved)
