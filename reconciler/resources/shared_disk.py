"""A disk that several servers see, and one of them uses."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.plugin import Place, StartLevel
from reconciler.ports.disks import Claim, ConsentRefused
from reconciler.ports.driver import (
    Observation,
    Permit,
    PermitExpired,
    ResourceError,
    ResourceState,
)
from reconciler.ports.volumes import FileSystem, Mounted
from reconciler.resources._disk_fields import AbsolutePath, MountedDisk, MountPoint, is_stable
from reconciler.resources._shared_access import SharedAccess
from specs.resource import Use
from specs.scalars import Duration, impact

OBSERVE_TIMEOUT_S = 20.0


class SharedDisk(MountedDisk):
    """A disk (FC, iSCSI, SAS) that all servers of the group see; the owner mounts it.

    With `reservation: scsi` the disk itself keeps every other server from writing: before the mount
    the owner takes a SCSI-3 persistent reservation whose key holds the epoch, and shuts the old
    owner out, with what it still had under way. `nvme` is the same with an NVMe namespace. With
    `reservation: none` only fencing keeps a second writer out; the state says so, and the group may
    not list the proofs `expired` and `none`.

    A disk that this server uses in any other way is refused: mounted by somebody else, in
    /etc/fstab, swap, the root file system, part of LVM, a RAID or a multipath device, or with
    partitions. A file system is made only with `formatConsent`, once, on a blank disk. At a stop
    every mount of the disk on this server ends, also those made by hand or copied into other
    namespaces; programs that use it get SIGTERM and, after `unmountGrace`, SIGKILL. If that fails,
    the server can't give the disk up and resets itself. A disk is never torn off lazily.

    Without a file system (`fileSystem: none`) programs of the group use the device under its name.
    Those must be resources of the group: nothing else would end them.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: data}
    spec:
      group: web
      type: shared-disk
      device: /dev/disk/by-id/wwn-0x6001405a3f1e22bd
      mountPoint: /srv/data
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("sd",)
    level: ClassVar[StartLevel] = StartLevel.DISK

    type: Literal["shared-disk"] = Field(
        default="shared-disk",
        description="Type of the resource (alias: sd).",
        json_schema_extra=impact("resource", example="shared-disk"),
    )
    device: AbsolutePath | None = Field(
        default=None,
        description="The disk by a name that is the same on every server and after each boot: "
        "/dev/disk/by-id/..., by-uuid, by-partuuid, a logical volume.",
        json_schema_extra=impact(
            "resource",
            example="/dev/disk/by-id/wwn-0x6001405a3f1e22bd",
            default_text="`file` is given",
        ),
    )
    file: AbsolutePath | None = Field(
        default=None,
        description="Instead of a device: a file that all servers see, through a loop device; "
        "it is locked meanwhile.",
        json_schema_extra=impact(
            "resource", example="/srv/shared/data.img", default_text="`device` is given"
        ),
    )
    allow_unstable_name: bool = Field(
        default=False,
        description="Accept names such as /dev/sdb, which may be another disk after a restart.",
        json_schema_extra=impact("none", example=False),
    )
    reservation: Literal["scsi", "nvme", "none"] = Field(
        default="scsi",
        description="What keeps a second server from writing, besides fencing: a SCSI-3 persistent "
        "reservation, a reservation of an NVMe namespace, or nothing.",
        json_schema_extra=impact("resource", example="scsi"),
    )
    file_system: Literal["ext4", "xfs", "btrfs", "none"] = Field(
        default="ext4",
        description="Kind of the file system; none: the device is used as it is.",
        json_schema_extra=impact("resource", example="ext4"),
    )
    mount_point: MountPoint | None = Field(
        default=None,
        description="Directory that the file system is mounted on; made when it is missing.",
        json_schema_extra=impact(
            "resource", example="/srv/data", default_text="there is no file system"
        ),
    )
    format_consent: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="Any word: the file system may be made once, if the disk is blank. A word that "
        "was used is never good again.",
        json_schema_extra=impact("none", example="new-array-2026", default_text="never"),
    )
    check: Literal["never", "always", "every"] = Field(
        default="always",
        description="Check before the mount. always: quick, the journal is replayed and what is "
        "damaged repaired if that loses nothing; every: a full check after each `checkEvery` "
        "mounts, counted on the disk. Only ext4 has either; xfs and btrfs check themselves.",
        json_schema_extra=impact("none", example="always"),
    )
    check_every: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=10,
        description="Mounts after which `check: every` makes a full check.",
        json_schema_extra=impact("none", example=10),
    )
    check_on_failure: bool = Field(
        default=True,
        description="After a mount that failed: a full check (ext4) or xfs_repair, without losing "
        "anything, and one more try.",
        json_schema_extra=impact("none", example=True),
    )
    check_timeout: Annotated[Duration, Field(ge=1, le=86400)] = Field(
        default=120.0,
        description="Time that one check may take, within `startTimeout`.",
        json_schema_extra=impact("none", example="2m"),
    )
    start_timeout: Annotated[Duration, Field(ge=0.1, le=86400)] = Field(
        default=180.0,
        description="Time that one start may take, with its check.",
        json_schema_extra=impact("none", example="3m"),
    )

    @model_validator(mode="after")
    def _fits(self) -> "SharedDisk":
        if (self.file is None) == (self.device is None):
            raise ValueError("give either device or file")
        if (self.mount_point is None) != (self.file_system == "none"):
            raise ValueError("a file system needs a mountPoint, and `fileSystem: none` has none")
        if self.file and self.file_system == "none":
            raise ValueError("a file can only be used with a file system")
        if self.file and self.reservation != "none":
            raise ValueError("a file can't be reserved: write `reservation: none`")
        if self.device and not self.allow_unstable_name and not is_stable(self.device):
            raise ValueError(
                f"{self.device} may name another disk after a restart: use /dev/disk/by-id/... (or "
                "by-uuid, by-partuuid), or write allowUnstableName: true"
            )
        return self

    @property
    def observe_timeout(self) -> float:
        return OBSERVE_TIMEOUT_S

    @property
    def one_writer(self) -> bool:
        return self.reservation == "none"

    def uses(self) -> tuple[Use, ...]:
        disk = Use("device" if self.device else "file", self.disk, shared=True)
        return (disk, Use("mountPoint", self.mount_point)) if self.mount_point else (disk,)

    @property
    def disk(self) -> str:
        """The device's or file's name."""
        return self.device or self.file or ""

    def _access(self, place: Place) -> SharedAccess:
        return SharedAccess(
            place.name,
            self.disk,
            self.device is not None,
            self.reservation != "none",
            self.unmount_grace,
        )

    async def observe(self, place: Place) -> Observation:
        claim = place.host.disks.claims().get(place.name)
        mounts = await self._mounts(place)
        if claim is None:
            if mounts:
                return Observation(ResourceState.PARTIAL, f"{_where(mounts)} by somebody else")
            return Observation(ResourceState.INACTIVE)
        lost = await self._access(place).lost(place, claim)
        if not mounts and self.mount_point is not None:
            held = claim.reserved and not lost
            state = ResourceState.PARTIAL if held else ResourceState.INACTIVE
            return Observation(state, "it is not mounted", claim.epoch)
        problem = lost or self._wrong(mounts)
        if problem:
            return Observation(ResourceState.FAILED, problem, claim.epoch)
        reasons = [] if claim.reserved else ["only fencing keeps a second writer out"]
        if paths := self._paths(place):
            reasons.append(paths)
        return Observation(ResourceState.ACTIVE, "; ".join(reasons), claim.epoch)

    def _paths(self, place: Place) -> str:
        """How many of several paths work, as far as was seen last."""
        running, known = place.host.disks.paths(self.disk)
        return f"{running} of {known} paths" if known > 1 else ""

    async def _mounts(self, place: Place) -> tuple[Mounted, ...]:
        """Also looks whether a mount is under way, where there is none."""
        mounts = await place.host.volumes.mounts_of(self.disk)
        if not mounts and self.mount_point is not None:
            await place.host.volumes.mounted(self.mount_point)
        return mounts

    def _wrong(self, mounts: Sequence[Mounted]) -> str:
        for mount in mounts:
            if mount.directory != self.mount_point:
                return f"it is mounted on {mount.directory}, too"
            if mount.read_only and "ro" not in self.mount_options.split(","):
                return "its file system became read-only after an error"
        return ""

    async def prepare(self, place: Place) -> None:
        await self._access(place).look(place, ours=place.name in place.host.disks.claims())

    async def activate(self, place: Place, permit: Permit) -> None:
        disks = place.host.disks
        claim = disks.claims().get(place.name)
        if claim is not None and claim.epoch > permit.epoch:
            raise ResourceError(f"it is held at the newer epoch {claim.epoch}", retry=False)
        found = await self.observe(place)
        if found.state is ResourceState.ACTIVE and found.epoch == permit.epoch:
            return
        mounts = await self._mounts(place)
        if claim is not None:
            await self._end(place, claim)
        elif mounts:
            raise ResourceError(f"{_where(mounts)} by somebody else", retry=False)
        other = await place.host.volumes.mounted(self.mount_point) if self.mount_point else None
        if other is not None:
            raise ResourceError(f"{other} is mounted on {self.mount_point}", retry=False)
        permit.check()
        claim = self._access(place).claim(place, permit.epoch, self.mount_point or "")
        try:
            await self._begin(place, permit)
        except PermitExpired:
            await self._end(place, claim)
            raise

    async def _begin(self, place: Place, permit: Permit) -> None:
        """Nothing is read or written before the disk keeps others out."""
        view = await self._access(place).take(place, permit)
        if view is not None:
            if self.mount_point is not None:
                await self._mount(place, view.node, view.mounts, permit)
            return
        permit.check()
        node = await place.host.volumes.attach(self.disk, alone=True)
        try:
            await self._mount(place, node, None, permit)
        finally:
            await place.host.volumes.detach(self.disk)

    async def _mount(self, place: Place, node: str, count: int | None, permit: Permit) -> None:
        check: Literal["never", "always", "full"] = "never"
        if self.check == "always":
            check = "always"
        elif self.check == "every" and count is not None and count >= self.check_every:
            check = "full"
        system = FileSystem(
            self.file_system,
            self.mount_options,
            check,
            self.check_on_failure,
            self.check_timeout,
            self.start_timeout,
        )
        if self.format_consent is not None:
            await self._format(place, node, self.format_consent, permit)
        await place.host.volumes.mount(node, self.mount_point or "", system, permit)

    async def _format(self, place: Place, node: str, consent: str, permit: Permit) -> None:
        """The consent is used up before the first byte: a start that ends in between needs another
        one, and no consent ever makes two file systems."""
        if not await place.host.volumes.is_blank(node):
            return
        try:
            await place.consents.use(place.name, place.group, permit.epoch, consent)
        except ConsentRefused as error:
            raise ResourceError(f"{self.disk} is blank: {error}") from error
        await place.host.volumes.make_file_system(node, self.file_system, permit)
        place.events.emit("disk_formatted", resource=place.name, kind=self.file_system)

    async def deactivate(self, place: Place, epoch: int) -> None:
        claim = place.host.disks.claims().get(place.name)
        if claim is None or claim.epoch <= epoch:
            await self._end(place, claim)

    async def _end(self, place: Place, claim: Claim | None) -> None:
        """Every mount of the disk goes, then the reservation, then the claim."""
        volumes, disks = place.host.volumes, place.host.disks
        for name in dict.fromkeys((self.disk, claim.node if claim is not None else "")):
            for mount in await volumes.mounts_of(name) if name else ():
                await volumes.unmount(mount.directory, self.unmount_grace)
        if claim is None:
            return
        if claim.directory:
            # By its name, too: the disk may be gone, or the spec may name another one by now.
            await volumes.unmount(claim.directory, self.unmount_grace)
        if claim.is_device:
            await self._access(place).let_go(place, claim)
        else:
            await volumes.until_free(claim.device)
        disks.disclaim(place.name)

    async def changed(self, place: Place) -> None:
        """Not for every mount of a busy server: asking a reserved disk costs a process."""
        volumes = place.host.volumes
        seen = await volumes.mounts_of(self.disk)
        while True:
            waiting = asyncio.ensure_future(volumes.changed())
            try:
                await asyncio.sleep(0)  # let it register before the look
                if await volumes.mounts_of(self.disk) != seen:
                    return
                await waiting
            finally:
                waiting.cancel()
            if self.reservation == "none":
                return

    async def keep(self, place: Place, permit: Permit) -> None:
        await self._access(place).keep(place, permit)


def _where(mounts: Sequence[Mounted]) -> str:
    return f"it is mounted on {', '.join(mount.directory for mount in mounts)}"
