"""A mirrored disk becomes as large as its spec says while it is used: the other side, this one, the
loop devices, the file systems.

Each step is looked at again and again, so that whoever owns the group finishes what another one
began. Called by `_mirrored` while the disk is active.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.plugin import Place
from reconciler.ports.driver import Permit, PermitExpired, ResourceError
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import EngineView, MirrorPlan
from reconciler.resources._file_systems import DiskVolume, FileSystems
from specs.scalars import format_size

LOOK_EVERY_S = 2.0
PLACE_TRIES, PLACE_PAUSE_S = 40, 0.25
AGAIN_S = 30.0
"""After a step that failed; what only waits for the other side is looked at every time."""

PATIENCE_S = 10.0
"""The other side takes up a new size some seconds later: that is told only when it takes longer."""


class _Waits(Exception):
    """It cannot go on yet; one sentence."""


async def grow_following(place: Place, name: str, size: int) -> None:
    """The side that follows, once: only then the other one may. Raises `HostError`."""
    view = await place.host.mirrors.view(name)
    if view is not None and not view.serves and view.header.size < size:
        await place.host.mirrors.ask(name, {"do": "grow", "size": size})


async def keep_following(place: Place, plan: Callable[[Place], MirrorPlan]) -> None:
    """For ever, for a side whose engine was started once."""
    told = ""
    while True:
        try:
            wanted = plan(place)
            await grow_following(place, wanted.name, wanted.size)
            told = ""
        except (HostError, ResourceError) as error:
            told = _tell(place, str(error), told)
        await place.clock.sleep(LOOK_EVERY_S)


@dataclass(slots=True)
class Growing:
    """The side that serves. `systems` are what is mounted of it."""

    place: Place
    permit: Permit
    plan: Callable[[Place], MirrorPlan]
    systems: FileSystems
    _done: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    async def keep(self) -> None:
        """For ever."""
        told, since = "", self.place.clock.now()
        while True:
            pause, now = LOOK_EVERY_S, self.place.clock.now()
            try:
                await self.look()
                told, since = "", now
            except PermitExpired:
                pass
            except _Waits as reason:
                if now - since >= PATIENCE_S:
                    told = _tell(self.place, str(reason), told)
            except Exception as error:  # noqa: BLE001 - beside it the engine's questions are answered
                told, pause = _tell(self.place, str(error) or repr(error), told), AGAIN_S
            await self.place.clock.sleep(pause)

    async def look(self) -> None:
        """Every step that is due and can be done now."""
        mirrors = self.place.host.mirrors
        view = await mirrors.view(self.place.name)
        if not self.permit.is_valid() or view is None or not view.serves or view.over:
            return
        wanted = self.plan(self.place)
        if wanted.engine != "own":
            return
        if view.header.size < wanted.size and not view.suspended:
            self._may_grow(view, wanted)
            self.permit.check()
            await mirrors.ask(self.place.name, {"do": "grow", "size": wanted.size})
            view = await mirrors.view(self.place.name)
        if view is not None and view.serves and not view.suspended:
            mounted = await self.systems.mounted(self.place)
            for volume in self.systems.volumes:
                if volume.directory in mounted:
                    await self._volume(view, volume, mounted[volume.directory])

    async def begin(self) -> EngineView:
        """The engine before anything is mounted: a volume that was added needs its place first.
        What does not work is told, and tried again by `keep`. Raises `HostError`,
        `PermitExpired`."""
        place, needed, told = self.place, self.systems.needed, ""
        view = await self._view()
        for _ in range(PLACE_TRIES):
            if view.header.size >= needed:
                break
            try:
                self._may_grow(view, wanted := self.plan(place))
                self.permit.check()
                await place.host.mirrors.ask(place.name, {"do": "grow", "size": wanted.size})
            except _Waits as reason:
                told = _tell(place, str(reason), told)
                await place.clock.sleep(PLACE_PAUSE_S)
            except HostError as error:
                _tell(place, str(error), told)
                break
            view = await self._view()
        return view

    async def _view(self) -> EngineView:
        view = await self.place.host.mirrors.view(self.place.name)
        if view is None:
            raise HostError("its engine ended")
        return view

    def _may_grow(self, view: EngineView, wanted: MirrorPlan) -> None:
        theirs = int(view.details.get("peer_size", 0))
        if view.details.get("connected") and theirs < wanted.size:
            raise _Waits(
                f"{wanted.peer} has {format_size(theirs)} yet, not {format_size(wanted.size)}"
            )

    async def _volume(self, view: EngineView, volume: DiskVolume, device: str) -> None:
        """Its device and its file system, once for each size."""
        place, directory = self.place, volume.directory
        size = volume.extent.size if volume.extent.name else view.header.size
        if volume.extent.name and volume.extent.end != view.header.size:
            return  # its device may have no limit, and must not take what belongs to the next one
        seen = (device, view.epoch, size)
        if self._done.get(directory) == seen:
            return
        volumes, kind = place.host.volumes, volume.system.kind
        if await volumes.grow_device(device, view.path, size, self.permit):
            place.events.emit("mirror_device_grown", resource=place.name, device=device, size=size)
        if await volumes.grow_file_system(device, directory, kind, self.permit):
            place.events.emit(
                "mirror_file_system_grown",
                resource=place.name,
                directory=directory,
                kind=kind,
                size=size,
            )
        self._done[directory] = seen


def _tell(place: Place, reason: str, told: str) -> str:
    """Once for each reason."""
    if reason != told:
        place.events.emit("mirror_growth_waits", resource=place.name, reason=reason)
    return reason
