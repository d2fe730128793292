"""Disks without an operating system, for `memory_host`: mirrors, mounts, reservations."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.mirror.decide.promotion import Change, Current
from reconciler.mirror.header import Header
from reconciler.ports.disks import Claim, DiskView, RestingMirror
from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import (
    DiskGone,
    HostError,
)
from reconciler.ports.mirrors import (
    Decide,
    EngineView,
    MirrorPlan,
    RecordLost,
    RecordUnavailable,
    Stopped,
)
from reconciler.ports.volumes import FileSystem, Mounted


class Changes:
    """Wakes everybody who waits when something has changed."""

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


class MemoryMirrors:
    """Engines that serve or follow, with one side's real header."""

    def __init__(self) -> None:
        self.headers: dict[str, Header] = {}
        self.running: set[str] = set()
        self.plans: dict[str, MirrorPlan] = {}
        self.serving: dict[str, int] = {}
        self.hangs = False
        self.hands_over = True
        self.details: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ids = 0
        self.changes = Changes()

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def ensure(self, plan: MirrorPlan) -> None:
        await self._answer()
        self.headers.setdefault(plan.name, Header(plan.name, plan.size, "built"))
        self.running.add(plan.name)
        self.plans[plan.name] = plan

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
        self.held: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.mounts: dict[str, str] = {}
        self.made: list[str] = []
        self.systems: list[FileSystem] = []
        self.read_only = self.hangs = False
        self.changes = Changes()

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)

    async def attach(
        self, file: str, *, alone: bool = False, offset: int = 0, size: int = 0
    ) -> str:
        await self._answer()
        return f"/dev/loop-of{file}" + (f"+{offset}" if offset else "")

    async def detach(self, file: str) -> None:
        """It goes with its last user."""

    async def until_free(self, file: str) -> None:
        await self._answer()
        if file in self.held:
            raise HostError(f"{file} is still in use through a loop device")

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

    async def unmount_in(self, pid: int, device: str, grace_s: float) -> None:
        await self._answer()

    async def grow_device(self, device: str, file: str, size: int, permit: Permit) -> bool:
        await self._answer()
        permit.check()
        before, self.sizes[device] = self.sizes.get(device, 0), size
        return before < size

    async def grow_file_system(
        self, device: str, directory: str, kind: str, permit: Permit
    ) -> bool:
        await self._answer()
        if self.growth_fails:
            raise HostError(self.growth_fails)
        permit.check()
        fresh = (directory, self.sizes[device]) not in self.grown
        if fresh:
            self.grown.append((directory, self.sizes[device]))
        return fresh

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
        self.problem, self.gone = "", False
        self.nodes: list[str] = []  # what names mean, one after the other; then themselves
        self.seen_paths = (0, 0)
        self.mirrors: dict[str, RestingMirror] = {}

    async def _answer(self) -> None:
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.problem:
            raise (DiskGone if self.gone else HostError)(self.problem)

    def claims(self) -> dict[str, Claim]:
        return self.noted

    def claim(self, resource: str, claim: Claim) -> None:
        self.noted[resource] = claim

    def disclaim(self, resource: str) -> None:
        self.noted.pop(resource, None)

    async def look(self, device: str) -> DiskView:
        await self._answer()
        return replace(self.view, node=self._node(device))

    def _node(self, device: str) -> str:
        return self.nodes.pop(0) if self.nodes else device

    def paths(self, device: str) -> tuple[int, int]:
        return self.seen_paths

    async def resting_mirror(self, disk: str) -> RestingMirror:
        await self._answer()
        if disk not in self.mirrors:
            raise HostError(f"{disk}: there is no mirror on it")
        return self.mirrors[disk]

    async def reserve(self, device: str, resource: str, permit: Permit) -> str:
        await self._answer()
        permit.check()
        if self.holders.get(device, ("", 0))[1] > permit.epoch:
            raise HostError("it is reserved at a newer epoch")
        self.holders[device] = (resource, permit.epoch)
        if not permit.is_valid():
            del self.holders[device]
            raise PermitExpired("too late")
        return self._node(device)

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
