"""The file systems of one mirrored disk: made once, mounted parents first, unmounted in reverse.

Used by `_mirrored` with the file that the engine serves. A disk without `volumes` is one volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from reconciler.plugin import Place
from reconciler.ports.disks import ConsentRefused
from reconciler.ports.driver import Permit, ResourceError
from reconciler.ports.host import HostError
from reconciler.ports.volumes import FileSystem
from specs.volume_layout import Extent

SERVED = ("/dev/loop", "/dev/drbd")
"""What an engine serves is mounted from these; anything else on a mount point is not ours."""


@dataclass(frozen=True, slots=True)
class DiskVolume:
    """One volume: where it lies (an unnamed one is the whole disk), and where it is mounted."""

    extent: Extent
    directory: str
    system: FileSystem

    @property
    def label(self) -> str:
        """What people call it in a sentence."""
        return f"volume {self.extent.name}" if self.extent.name else "it"


@dataclass(frozen=True, slots=True)
class FileSystems:
    """All volumes of one disk. `consent`: the word that allows to make what is blank."""

    volumes: tuple[DiskVolume, ...]
    consent: str | None = None

    @property
    def needed(self) -> int:
        """Bytes of the mirror that the volumes need; 0 for a disk that is not divided."""
        last = self.volumes[-1].extent
        return last.end if last.name else 0

    def _parents_first(self) -> Sequence[DiskVolume]:
        """What is mounted below another one comes after it."""
        return sorted(self.volumes, key=lambda one: len(PurePosixPath(one.directory).parts))

    async def mounted(self, place: Place) -> dict[str, str]:
        """Devices by directory, of those that are mounted and not covered by somebody else."""
        found = await self._found(place)
        return {directory: device for directory, device in found.items() if _is_ours(device)}

    async def _found(self, place: Place) -> dict[str, str]:
        found = {v.directory: await place.host.volumes.mounted(v.directory) for v in self.volumes}
        return {directory: device for directory, device in found.items() if device is not None}

    async def refuse_strangers(self, place: Place) -> None:
        """Raises `ResourceError` when something that is not ours is on a mount point."""
        for directory, device in (await self._found(place)).items():
            if not _is_ours(device):
                raise ResourceError(f"{device} is mounted on {directory}", retry=False)

    def missing(self, mounted: dict[str, str]) -> str:
        """Which of them are not mounted; "" when all are."""
        lost = [one for one in self.volumes if one.directory not in mounted]
        if lost and not lost[0].extent.name:
            return "it is not mounted"
        names = ", ".join(one.extent.name for one in lost)
        return f"not mounted: {names}" if names else ""

    async def mount(
        self, place: Place, permit: Permit, disk: str, size: int, *, first: bool
    ) -> None:
        """What is not mounted yet. `disk` is the served file of `size` bytes; `first`: the mirror
        was never served before. Raises `HostError`, `ResourceError`, `PermitExpired`."""
        last = self.volumes[-1]
        if last.extent.name and last.extent.offset >= size:
            text = f"{last.label} begins at byte {last.extent.offset}, the mirror has {size}"
            raise ResourceError(text)
        await self.refuse_strangers(place)
        making = _Making(place, permit, self.consent, first=first)
        fresh: list[PurePosixPath] = []
        await making.begin(self.volumes)
        for volume in self._parents_first():
            path = PurePosixPath(volume.directory)
            if await place.host.volumes.mounted(volume.directory) is not None:
                if not any(path.is_relative_to(above) for above in fresh):
                    continue
                # What was just mounted above it hides it.
                await place.host.volumes.unmount(volume.directory, 0.0)
            await self._mount(place, permit, disk, size, volume, making)
            fresh.append(path)

    async def _mount(
        self,
        place: Place,
        permit: Permit,
        disk: str,
        size: int,
        volume: DiskVolume,
        making: "_Making",
    ) -> None:
        extent, volumes = volume.extent, place.host.volumes
        # A limit can't be changed while it is mounted: what ends with the disk grows with it.
        limit = extent.size if extent.name and extent.end < size else 0
        permit.check()
        device = await volumes.attach(disk, offset=extent.offset, size=limit)
        try:
            if extent.end <= size:
                await making.make_if_blank(volume, device)
            await volumes.mount(device, volume.directory, volume.system, permit)
        except HostError as error:
            raise HostError(f"{volume.label}: {error}" if extent.name else str(error)) from error
        finally:
            await volumes.detach(disk)

    async def unmount(self, place: Place, disk: str, grace_s: float) -> None:
        """All, with their users ended, wherever the served file is mounted. Raises `HostError`."""
        volumes = place.host.volumes
        for mount in await volumes.mounts_of(disk):
            await volumes.unmount(mount.directory, grace_s)
        ours = await self.mounted(place)
        for volume in reversed(self._parents_first()):
            if volume.directory in ours:
                await volumes.unmount(volume.directory, grace_s)

    async def tear_off(self, place: Place) -> None:
        """All, although they are in use. Raises `HostError`."""
        ours = await self.mounted(place)
        for volume in reversed(self._parents_first()):
            if volume.directory in ours:
                await place.host.volumes.tear_off(volume.directory)


def _is_ours(device: str) -> bool:
    return device.startswith(SERVED)


class _Making:
    """Whether blank volumes get a file system during one activation. A disk that is not divided
    gets it at the first start only. Any of several volumes may be blank later (it was added, or the
    first start ended in between); that takes a consent that was never used: a disk that became
    blank by an accident must not be made empty on the other side, too."""

    def __init__(self, place: Place, permit: Permit, consent: str | None, *, first: bool) -> None:
        self._place, self._permit, self._consent = place, permit, consent
        self._may = first and consent is not None

    async def begin(self, volumes: Sequence[DiskVolume]) -> None:
        """The first start uses the consent up, whatever is blank."""
        if self._may and volumes[0].extent.name:
            await self._use_up("it cannot be made")

    async def make_if_blank(self, volume: DiskVolume, device: str) -> None:
        place, system = self._place, volume.system
        if not self._may and (self._consent is None or not volume.extent.name):
            return
        if not await place.host.volumes.is_blank(device):
            return
        if not self._may:
            await self._use_up(f"{volume.label} is blank")
        await place.host.volumes.make_file_system(device, system.kind, self._permit)
        name = volume.extent.name
        place.events.emit("mirror_formatted", resource=place.name, kind=system.kind, volume=name)

    async def _use_up(self, why: str) -> None:
        place, consent = self._place, self._consent or ""
        try:
            await place.consents.use(place.name, place.group, self._permit.epoch, consent)
        except ConsentRefused as error:
            raise ResourceError(f"{why}: {error}") from error
        self._may = True
