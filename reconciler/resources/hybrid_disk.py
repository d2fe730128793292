"""A mirrored disk between two server groups, each of which shares a disk: it fails over within a
group as a shared disk does, and between the groups as a mirrored one."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from reconciler.plugin import Place, StartLevel
from reconciler.ports.disks import Claim
from reconciler.ports.driver import (
    Observation,
    Permit,
    PermitExpired,
    ResourceError,
    ResourceState,
)
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan
from reconciler.resources._disk_fields import AbsolutePath, MirroredDisk, is_stable
from reconciler.resources._growing import keep_following
from reconciler.resources._mirrored import ServingSide, Side, plan_of, serving_side
from reconciler.resources._shared_access import SharedAccess
from specs.document import Model
from specs.resource import STANDBY_SUFFIX, Use
from specs.scalars import Name, impact

OBSERVE_TIMEOUT_S = 20.0
ACTIVE = ResourceState.ACTIVE


class SharedSide(Model):
    """The disk that the servers of one server group share."""

    server_group: Name = Field(
        description="Server group whose servers all see the disk.",
        json_schema_extra=impact("resource", example="left"),
    )
    device: AbsolutePath | None = Field(
        default=None,
        description="The disk by a name that is the same on every server of the group and after "
        "each boot: /dev/disk/by-id/..., a logical volume.",
        json_schema_extra=impact(
            "resource",
            example="/dev/disk/by-id/wwn-0x6001405a3f1e22bd",
            default_text="`file` is given",
        ),
    )
    file: AbsolutePath | None = Field(
        default=None,
        description="Instead of a device: a file that all servers of the group see.",
        json_schema_extra=impact(
            "resource", example="/srv/shared/data.img", default_text="`device` is given"
        ),
    )

    @model_validator(mode="after")
    def _one_disk(self) -> Self:
        if (self.file is None) == (self.device is None):
            raise ValueError("give either device or file")
        if self.device is not None and not is_stable(self.device):
            raise ValueError(
                f"{self.device} may name another disk after a restart: use /dev/disk/by-id/..."
            )
        return self

    @property
    def disk(self) -> str:
        """The device's or file's name."""
        return self.device or self.file or ""


class HybridDisk(MirroredDisk):
    """A file system that is mirrored between two server groups; the servers of each share a disk.

    In each server group one server at a time, the *current* one, touches the shared disk: in the
    owner's group it is the owner, in the other one it follows the mirror. The cluster gives that
    role by a group of its own, named after this one with `-standby` behind it: it is placed,
    fenced, moved and shown as every group is. Within a server group the disk is handed over as a
    `shared-disk` is; what the mirror knows lies on the disk itself, so the mirror goes on. Between
    the groups the following side takes over as a `mirror-disk` does: with everything that was
    acknowledged, or not at all.

    The disks hold 64 MiB more than `size`, for the mirror itself. They are never made, and the
    first MiB of each must hold zeros before the first start. With `reservation: scsi` each disk
    keeps every other server of its group from writing; with `none` only fencing does.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: data}
    spec:
      group: web
      type: hybrid-disk
      sides:
        - {serverGroup: left, device: /dev/disk/by-id/wwn-0x6001405a3f1e22bd}
        - {serverGroup: right, device: /dev/disk/by-id/wwn-0x6001405b7711c0de}
      size: 1GiB
      mountPoint: /srv/data
      formatConsent: first-build
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("hd",)
    level: ClassVar[StartLevel] = StartLevel.DISK

    type: Literal["hybrid-disk"] = Field(
        default="hybrid-disk",
        description="Type of the resource (alias: hd).",
        json_schema_extra=impact("resource", example="hybrid-disk"),
    )
    sides: Annotated[tuple[SharedSide, ...], Field(min_length=2, max_length=2)] = Field(
        description="The two server groups, those of the group, and the disk of each.",
        json_schema_extra=impact("resource"),
    )
    reservation: Literal["scsi", "nvme", "none"] = Field(
        default="scsi",
        description="What keeps a second server of a server group from writing, besides fencing: a "
        "SCSI-3 persistent reservation, a reservation of an NVMe namespace, or nothing.",
        json_schema_extra=impact("resource", example="scsi"),
    )
    standby_of: Name | None = Field(
        default=None,
        description="Set by the cluster for the side that follows; not for specs.",
        json_schema_extra=impact("resource"),
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        one, two = self.sides
        if one.server_group == two.server_group:
            raise ValueError(f"both sides are in server group {one.server_group}")
        if one.disk == two.disk:
            raise ValueError(f"both sides name {one.disk}: each server group has a disk of its own")
        if self.reservation != "none" and (one.file or two.file):
            raise ValueError("a file can't be reserved: write `reservation: none`")
        return self

    @property
    def observe_timeout(self) -> float:
        return OBSERVE_TIMEOUT_S

    @property
    def one_writer(self) -> bool:
        return self.reservation == "none"

    def uses(self) -> tuple[Use, ...]:
        if self.standby_of is not None:
            return ()
        disks = [Use("sides", side.disk, shared=True) for side in self.sides]
        return (*disks, *self.mount_uses())

    def mirrored_groups(self) -> tuple[str, ...]:
        return tuple(side.server_group for side in self.sides)

    def shared_disk(self, side: str) -> str:
        return next((one.disk for one in self.sides if one.server_group == side), "")

    def side_of(self, server: str, server_groups: Sequence[str]) -> str | None:  # noqa: ARG002
        mine = [name for name in self.mirrored_groups() if name in server_groups]
        return next(iter(mine), "") if self.standby_of is None else None

    def following(self, name: str) -> "HybridDisk | None":
        if self.standby_of is not None:
            return None
        group = self.group + STANDBY_SUFFIX
        return self.model_copy(update={"group": group, "standby_of": name, "depends_on": None})

    # -- what belongs to this server ---------------------------------------------------------------

    def _mirror(self, place: Place) -> str:
        """Both roles have one engine, and one name on the disk."""
        return self.standby_of or place.name

    def _sides(self, place: Place) -> tuple[SharedSide, SharedSide]:
        """This server's, then the other one."""
        servers = place.server_groups()
        mine = [s for s in self.sides if place.server in servers.get(s.server_group, ())]
        if len(mine) != 1:
            raise ResourceError(
                f"{place.server} must be in one of the server groups "
                f"{' and '.join(self.mirrored_groups())}",
                retry=False,
            )
        other = next(s for s in self.sides if s is not mine[0])
        return mine[0], other

    def _plan(self, place: Place) -> MirrorPlan:
        mine, other = self._sides(place)
        known = place.servers()
        others = [s for s in place.server_groups().get(other.server_group, ()) if s in known]
        side = Side(
            mine.server_group, other.server_group, mine.disk, mine.disk, tuple(others), shared=True
        )
        return plan_of(self, place, self._mirror(place), self.disk_size, side)

    def _access(self, place: Place) -> SharedAccess:
        mine, _ = self._sides(place)
        reserve = self.reservation != "none"
        is_device = mine.device is not None
        key = self._mirror(place)
        return SharedAccess(key, mine.disk, is_device, reserve, self.unmount_grace)

    def _serving(self) -> ServingSide:
        return serving_side(self, self._plan)

    def _claim(self, place: Place) -> Claim | None:
        return place.host.disks.claims().get(place.name)

    def _other_claim(self, place: Place) -> Claim | None:
        """Of the other role, on this server."""
        name = self.standby_of or place.name + STANDBY_SUFFIX
        return place.host.disks.claims().get(name)

    # -- both roles --------------------------------------------------------------------------------

    async def observe(self, place: Place) -> Observation:
        claim = self._claim(place)
        if claim is None:
            if self.standby_of is None:
                return await self._serving().observe(place)
            return Observation(ResourceState.INACTIVE)
        if self.standby_of is None:
            found = await self._serving().observe(place)
            if found.state is ResourceState.INACTIVE and await self._holds(place, claim):
                return Observation(ResourceState.PARTIAL, "it holds its disk", claim.epoch)
        elif self._is_served_here(place):
            # It does everything that following is for, and more.
            return Observation(ACTIVE, "this server serves the disk", claim.epoch)
        else:
            found = await self._observe_following(place, claim)
        lost = await self._access(place).lost(place, claim) if found.state is ACTIVE else ""
        return Observation(ResourceState.FAILED, lost, claim.epoch) if lost else found

    async def _observe_following(self, place: Place, claim: Claim) -> Observation:
        view = await place.host.mirrors.view(self._mirror(place))
        if view is None:
            held = await self._holds(place, claim)
            state = ResourceState.PARTIAL if held else ResourceState.INACTIVE
            return Observation(state, "its engine does not run", claim.epoch)
        if view.over:
            return Observation(ResourceState.FAILED, view.over, claim.epoch)
        reason = "" if claim.reserved else "only fencing keeps a second writer out"
        return Observation(ACTIVE, reason, claim.epoch)

    async def _holds(self, place: Place, claim: Claim) -> bool:
        if await place.host.mirrors.view(self._mirror(place)) is not None:
            return True
        return claim.reserved and not await self._access(place).lost(place, claim)

    async def prepare(self, place: Place) -> None:
        """The engine must not open the disk before this server is the current one."""
        held = self._claim(place) or self._other_claim(place)
        await self._access(place).look(place, ours=held is not None)

    async def activate(self, place: Place, permit: Permit) -> None:
        claim = self._claim(place)
        if claim is not None and claim.epoch > permit.epoch:
            raise ResourceError(f"it is held at the newer epoch {claim.epoch}", retry=False)
        if self.standby_of is None:
            await self._serving().activate(place, permit, lambda: self._take(place, permit))
        elif self._other_claim(place) is None:
            await self._take(place, permit)

    async def _take(self, place: Place, permit: Permit) -> None:
        """The disk, then the engine. What follows here already goes on, under the new epoch."""
        access, name = self._access(place), self._mirror(place)
        ours = await place.host.mirrors.view(name) is not None
        permit.check()
        directory = self.disk_volumes()[0].directory if self.standby_of is None else ""
        claim = access.claim(place, permit.epoch, directory)
        try:
            await access.take(place, permit, ours=ours)
            permit.check()
            await place.host.mirrors.ensure(self._plan(place))
            permit.check()
        except PermitExpired:
            await self._leave(place, claim)
            raise

    async def deactivate(self, place: Place, epoch: int) -> None:
        claim = self._claim(place)
        if claim is not None and claim.epoch > epoch:
            return
        if self.standby_of is None:
            await self._serving().deactivate(place, epoch)
        if claim is not None:
            await self._leave(place, claim)

    async def _leave(self, place: Place, claim: Claim) -> None:
        """The engine ends, then the disk is free for the next server of the server group. Not while
        it serves here: then both belong to the role that serves."""
        disks = place.host.disks
        if not self._is_served_here(place):
            await place.host.mirrors.quit(self._mirror(place))
        if not self._is_served_here(place):
            await self._free(place, claim)
        held = disks.claims().get(place.name)
        if held is not None and held.epoch == claim.epoch:
            disks.disclaim(place.name)

    def _is_served_here(self, place: Place) -> bool:
        return self.standby_of is not None and self._other_claim(place) is not None

    async def _free(self, place: Place, claim: Claim) -> None:
        if not claim.is_device:
            return
        try:
            await self._access(place).let_go(place, claim)
        except HostError:
            if not self._is_served_here(place):
                raise

    async def changed(self, place: Place) -> None:
        await place.host.mirrors.changed(self._mirror(place))

    async def keep(self, place: Place, permit: Permit) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._access(place).keep(place, permit))
            if self.standby_of is None:
                tasks.create_task(self._serving().keep(place, permit))
            else:
                tasks.create_task(keep_following(place, self._plan))
