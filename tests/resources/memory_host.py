"""A host without an operating system: the twin of `adapters.linux` for tests of types.

A `Wire` joins the hosts of one subnet, so that a probe on one finds an address on another.
"""

import asyncio
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.mirror.decide.promotion import Change, Current
from reconciler.mirror.header import Header
from reconciler.ports.disks import Claim, DiskView, RestingMirror
from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import (
    HeldAddress,
    HostError,
    RunnerState,
    RunnerView,
    StopPlan,
    Workload,
)
from reconciler.ports.mirrors import (
    Decide,
    EngineView,
    MirrorPlan,
    RecordLost,
    RecordUnavailable,
    Stopped,
)
from reconciler.ports.volumes import FileSystem, Growth, Mounted


@dataclass
class Wire:
    """All hosts that hear each other, by MAC."""

    networks: dict[str, "MemoryNetwork"] = field(default_factory=dict)
    announcements: list[tuple[str, str]] = field(default_factory=list)


class _Changes:
    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


class MemoryNetwork:
    def __init__(self, wire: Wire, mac: str, own: str, interface: str = "eth0") -> None:
        parsed = ipaddress.ip_interface(own)
        self.held = [HeldAddress(str(parsed.ip), parsed.network.prefixlen, interface)]
        self.wire, self.mac = wire, mac
        self.hangs = self.cut = False
        self.changes = _Changes()
        wire.networks[mac] = self

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def addresses(self) -> tuple[HeldAddress, ...]:
        await self._answer()
        return tuple(self.held)

    async def has_address(self, address: str) -> bool:
        return any(one.address == address for one in await self.addresses())

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
        self.changes = _Changes()

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

    def lose(self, name: str, left: int | None) -> None:
        """The runner dies; `left` processes remain."""
        self.views[name] = replace(
            self.views[name], state=RunnerState.LOST, left=left, is_held=False
        )
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


class MemoryMirrors:
    """Engines that serve or follow, with one side's real header."""

    def __init__(self) -> None:
        self.headers: dict[str, Header] = {}
        self.running: set[str] = set()
        self.serving: dict[str, int] = {}
        self.hangs = False
        self.hands_over = True
        self.details: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ids = 0
        self.changes = _Changes()

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def ensure(self, plan: MirrorPlan) -> None:
        await self._answer()
        self.headers.setdefault(plan.name, Header(plan.name, plan.size, "built"))
        self.running.add(plan.name)

    async def view(self, name: str) -> EngineView | None:
        await asyncio.sleep(0)
        if name not in self.running:
            return None
        epoch, header = self.serving.get(name, 0), self.headers[name]
        path, details = f"/run/{name}", self.details
        return EngineView(bool(epoch), epoch, "", False, path, header, "boot", details)

    async def prepare(self, name: str, named: str) -> str:
        await self._answer()
        self.ids += 1
        self.headers[name] = replace(self.headers[name], pending=(f"g{self.ids}",))
        return f"g{self.ids}"

    async def promote(self, name: str, epoch: int, generation: str) -> None:
        await self._answer()
        self.headers[name] = self.headers[name].with_generation(generation)
        self.serving[name] = epoch
        self.changes.tell()

    async def stop(self, name: str, limit_s: float = 5.0) -> Stopped:
        await self._answer()
        self.serving.pop(name, None)
        self.changes.tell()
        return Stopped(clean=True, handed_over=self.hands_over)

    async def ask(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        await self._answer()
        self.asked.append((name, dict(request)))
        if name not in self.headers:
            raise HostError("its engine does not run")
        if request["do"] == "grow":
            self.headers[name] = replace(self.headers[name], size=request["size"])
        return {"generation": self.headers[name].current}

    async def quit(self, name: str) -> None:
        await self._answer()
        self.running.discard(name)

    async def abort(self, name: str, reason: str) -> None:
        await self._answer()

    async def attend(self, name: str, decide: Decide) -> None:
        await asyncio.get_running_loop().create_future()

    async def changed(self, name: str) -> None:
        await self.changes.wait()


class MemoryVolumes:
    """What is mounted where; `made` are the devices that got a file system, `grown` the directories
    whose file system was made larger, with its size."""

    def __init__(self) -> None:
        self.grown: list[tuple[str, int]] = []
        self.growth_fails = ""
        self.mounts: dict[str, str] = {}
        self.made: list[str] = []
        self.systems: list[FileSystem] = []
        self.read_only = self.hangs = False
        self.changes = _Changes()

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def attach(
        self, file: str, *, alone: bool = False, offset: int = 0, size: int = 0
    ) -> str:
        await self._answer()
        return f"/dev/loop-of{file}" + (f"+{offset}" if offset else "")

    async def detach(self, file: str) -> None:
        """It goes with its last user."""

    async def is_blank(self, device: str) -> bool:
        return device not in self.made

    async def make_file_system(self, device: str, kind: str, permit: Permit) -> None:
        permit.check()
        self.made.append(device)

    async def mount(
        self, device: str, directory: str, file_system: FileSystem, permit: Permit
    ) -> None:
        await self._answer()
        permit.check()
        self.mounts[directory] = device
        self.systems.append(file_system)
        self.changes.tell()
        if not permit.is_valid():
            del self.mounts[directory]
            raise PermitExpired("too late")

    async def mounted(self, directory: str) -> str | None:
        await asyncio.sleep(0)
        return self.mounts.get(directory)

    async def mounts_of(self, device: str) -> tuple[Mounted, ...]:
        await asyncio.sleep(0)
        names = (device, f"/dev/loop-of{device}")
        found = [at for at, source in self.mounts.items() if source.split("+")[0] in names]
        return tuple(Mounted(at, device, self.read_only) for at in reversed(found))

    async def changed(self) -> None:
        await self.changes.wait()

    async def unmount(self, directory: str, grace_s: float) -> None:
        await self._answer()
        self.mounts.pop(directory, None)

    async def unmount_in(self, pid: int, directory: str, grace_s: float) -> None:
        await self._answer()

    async def grow(
        self, device: str, file: str, directory: str, kind: str, size: int, permit: Permit
    ) -> Growth:
        await self._answer()
        if self.growth_fails:
            raise HostError(self.growth_fails)
        permit.check()
        fresh = (directory, size) not in self.grown
        if fresh:
            self.grown.append((directory, size))
        return Growth(fresh, fresh)

    async def tear_off(self, directory: str) -> None:
        await self._answer()
        self.mounts.pop(directory, None)


class MemoryDisks:
    """Claims, and who has reserved which disk: `(resource, epoch)` by device."""

    def __init__(self) -> None:
        self.noted: dict[str, Claim] = {}
        self.holders: dict[str, tuple[str, int]] = {}
        self.view = DiskView("")
        self.hangs = False
        self.problem = ""
        self.seen_paths = (0, 0)
        self.mirrors: dict[str, RestingMirror] = {}

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.problem:
            raise HostError(self.problem)

    def claims(self) -> dict[str, Claim]:
        return self.noted

    def claim(self, resource: str, claim: Claim) -> None:
        self.noted[resource] = claim

    def disclaim(self, resource: str) -> None:
        self.noted.pop(resource, None)

    async def look(self, device: str) -> DiskView:
        await self._answer()
        return replace(self.view, node=device)

    def paths(self, device: str) -> tuple[int, int]:
        return self.seen_paths

    async def resting_mirror(self, disk: str) -> RestingMirror:
        await self._answer()
        if disk not in self.mirrors:
            raise HostError(f"{disk}: there is no mirror on it")
        return self.mirrors[disk]

    async def reserve(self, device: str, resource: str, permit: Permit) -> None:
        await self._answer()
        permit.check()
        if self.holders.get(device, ("", 0))[1] > permit.epoch:
            raise HostError("it is reserved at a newer epoch")
        self.holders[device] = (resource, permit.epoch)
        if not permit.is_valid():
            del self.holders[device]
            raise PermitExpired("too late")

    async def reserved(self, device: str, resource: str, epoch: int) -> str:
        await asyncio.sleep(0)
        return "" if self.holders.get(device) == (resource, epoch) else "its reservation is gone"

    async def hold(self, device: str, resource: str, permit: Permit) -> str:
        permit.check()
        return await self.reserved(device, resource, permit.epoch)

    async def release(self, device: str, resource: str, epoch: int) -> None:
        await self._answer()
        if self.holders.get(device) == (resource, epoch):
            del self.holders[device]


class MemoryRecords:
    """The record of each mirror; `lost` refuses every commit, `away` says nothing of any."""

    def __init__(self) -> None:
        self.records: dict[str, Current] = {}
        self.lost = self.away = False

    async def read(self, resource: str) -> Current | None:
        await asyncio.sleep(0)
        return self.records.get(resource)

    async def commit(self, resource: str, group: str, epoch: int, change: Change) -> Current:
        await asyncio.sleep(0)
        if self.away:
            raise RecordUnavailable("the store does not answer")
        new = None if self.lost else change(self.records.get(resource))
        if new is None:
            raise RecordLost("another server owns the group")
        self.records[resource] = new
        return new


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
