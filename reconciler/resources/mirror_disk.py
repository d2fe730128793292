"""A disk that two servers have: each write is on both before it counts, and the other one takes
over with everything that was acknowledged."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from reconciler.plugin import Place, StartLevel
from reconciler.ports.driver import Observation, Permit, ResourceError
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan
from reconciler.resources._disk_fields import AbsolutePath, MirroredDisk
from reconciler.resources._growing import grow_following
from reconciler.resources._mirrored import Side, plan_of, serving_side
from specs.resource import Mirror, Use
from specs.scalars import Name, impact

LOOK_EVERY_S = 2.0
ANEW_S = 60.0
"""After so long a side whose disk failed is tried once more."""

STATE_DIRECTORY = "/var/lib/clusterctl/mirrors"
_KERNEL_NAME = re.compile(r"^/dev/(sd|vd|xvd|hd|nvme|loop|dm-|md\d)")


def _stable_device(text: str) -> str:
    if _KERNEL_NAME.match(text):
        raise ValueError(
            f"{text} may name another disk after a restart: use /dev/disk/by-id/... or a logical "
            "volume"
        )
    return text


class MirrorDisk(MirroredDisk):
    """A file system on a disk that is mirrored to the group's other server.

    Each of the two servers has a file or device of exactly `size` bytes. The server that runs the
    group mounts the disk; the other one follows and has no access to it. With `mode: sync` a write
    is answered when both sides have it, and a flush when both sides flushed. With `mode: async` it
    is answered by the local disk; the other side follows in the order of the writes and may be
    some writes behind when it has to take over.

    When the other side is lost, nothing is answered until the cluster's store says that only this
    side is current; a side that is not current is never mounted. When it comes back, only what
    differs is copied, while the disk is in use. After a split brain (which takes an operator's
    override) one side must be given up by hand.

    The file system is made only if `formatConsent` is given, the mirror has never run, and its disk
    is blank. With `volumes` the disk is divided into several file systems, which are of the same
    moment after a failover, in either mode.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Resource
    metadata: {name: data}
    spec:
      group: web
      type: mirror-disk
      file: /var/lib/clusterctl/data.img
      size: 256MiB
      mountPoint: /srv/data
      formatConsent: first-build
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("md",)
    level: ClassVar[StartLevel] = StartLevel.DISK
    follows: ClassVar[bool] = True

    type: Literal["mirror-disk"] = Field(
        default="mirror-disk",
        description="Type of the resource (alias: md).",
        json_schema_extra=impact("resource", example="mirror-disk"),
    )
    file: AbsolutePath | None = Field(
        default=None,
        description="File with the data, the same path on both servers; made when it is missing.",
        json_schema_extra=impact(
            "resource", example="/var/lib/clusterctl/data.img", default_text="`device` is given"
        ),
    )
    device: Annotated[AbsolutePath, AfterValidator(_stable_device)] | None = Field(
        default=None,
        description="Block device with the data, by a name that stays.",
        json_schema_extra=impact(
            "resource", example="/dev/vg0/data", default_text="`file` is given"
        ),
    )
    devices: dict[Name, Annotated[AbsolutePath, AfterValidator(_stable_device)]] | None = Field(
        default=None,
        description="The block device of each of both servers, where their names differ.",
        json_schema_extra=impact(
            "resource",
            example={"n1": "/dev/disk/by-id/wwn-0x50a1", "n2": "/dev/disk/by-id/wwn-0x50b7"},
            default_text="`file` or `device` is given",
        ),
    )
    metadata_file: AbsolutePath | None = Field(
        default=None,
        description="File or device for what the mirror knows of itself (some MiB), best on "
        "another disk than the data.",
        json_schema_extra=impact(
            "resource",
            example="/var/lib/clusterctl/data.mirror",
            default_text=f"a file named after the resource in {STATE_DIRECTORY}",
        ),
    )
    engine: Literal["own", "drbd"] = Field(
        default="own",
        description="What mirrors the disk: the engine that comes with clusterctl, or DRBD (8.4 or "
        "9), whose kernel module and programs must be on both servers.",
        json_schema_extra=impact("resource", example="own"),
    )

    @model_validator(mode="after")
    def _one_place(self) -> "MirrorDisk":
        if [self.file, self.device, self.devices].count(None) != 2:
            raise ValueError("give either file, device or devices")
        if self.engine == "drbd" and (self.encryption, self.compression) != ("none", "none"):
            raise ValueError("engine drbd neither encrypts nor compresses: leave both at none")
        if self.engine == "drbd" and self.volumes:
            raise ValueError("engine drbd has no volumes: give mountPoint, or use engine: own")
        return self

    def uses(self) -> tuple[Use, ...]:
        points = self.mount_uses()
        if self.devices:
            own = self.devices.items()
            return (*(Use("devices", disk, below=(s,), server=s) for s, disk in own), *points)
        return (Use("device" if self.device else "file", self._disk_on("")), *points)

    def _disk_on(self, server: str) -> str:
        """Raises `ResourceError` when `devices` has none for it."""
        disk = self.file or self.device or (self.devices or {}).get(server)
        if disk is None:
            raise ResourceError(f"there is no device for {server}", retry=False)
        return disk

    def mirror(self) -> Mirror:
        base = self.metadata_file or f"{STATE_DIRECTORY}/resource.mirror"
        return (
            super()
            .mirror()
            ._replace(
                two_servers=True,
                device=self.device or "",
                file=self.file or "",
                metadata=base,
                devices=tuple((self.devices or {}).items()),
            )
        )

    def side_of(self, server: str, server_groups: Sequence[str]) -> str | None:  # noqa: ARG002
        return server

    # -- on every server of the group --------------------------------------------------------------

    async def follow(self, place: Place) -> None:
        told, failed_at = "", None
        while True:
            try:
                plan = self._plan(place)
                await place.host.mirrors.ensure(plan)
                if reason := await self._failure(place):
                    now = place.clock.now()
                    failed_at = now if failed_at is None else failed_at
                    if now - failed_at >= ANEW_S:
                        # What it never acknowledged is copied to it if its disk is well again.
                        failed_at = None
                        await place.host.mirrors.quit(place.name)
                    raise HostError(reason)
                failed_at = None
                if plan.engine == "own":
                    await grow_following(place, plan.name, plan.size)
                told = ""
            except (HostError, ResourceError) as error:
                if str(error) != told:
                    told = str(error)
                    place.events.emit("mirror_not_following", resource=place.name, reason=told)
            await place.clock.sleep(LOOK_EVERY_S)

    async def _failure(self, place: Place) -> str:
        """Of the disk of a side that follows: its engine refuses everything from then on."""
        view = await place.host.mirrors.view(place.name)
        return view.over if view is not None and not view.serves else ""

    async def unfollow(self, place: Place) -> None:
        await place.host.mirrors.quit(place.name)

    def _plan(self, place: Place) -> MirrorPlan:
        servers = place.servers()
        others = [name for name in servers if name != place.server]
        if len(others) != 1 or place.server not in servers:
            raise ResourceError(
                f"a mirror needs a group of exactly two servers, this one has {len(servers)}",
                retry=False,
            )
        base = self.metadata_file or f"{STATE_DIRECTORY}/{place.name}.mirror"
        disk = self._disk_on(place.server)
        side = Side(place.server, others[0], disk, base, tuple(others))
        history = f"{base}.history" if self.mode == "async" else ""
        plan = plan_of(self, place, place.name, self.disk_size, side, history=history)
        return replace(plan, engine=self.engine)

    # -- on the owner ----------------------------------------------------------------------------

    async def observe(self, place: Place) -> Observation:
        return await serving_side(self, self._plan).observe(place)

    async def prepare(self, place: Place) -> None:
        await place.host.mirrors.ensure(self._plan(place))

    async def activate(self, place: Place, permit: Permit) -> None:
        async def engine_runs() -> None:
            await place.host.mirrors.ensure(self._plan(place))

        await serving_side(self, self._plan).activate(place, permit, engine_runs)

    async def deactivate(self, place: Place, epoch: int) -> None:
        await serving_side(self, self._plan).deactivate(place, epoch)

    async def changed(self, place: Place) -> None:
        await place.host.mirrors.changed(place.name)

    async def keep(self, place: Place, permit: Permit) -> None:
        await serving_side(self, self._plan).keep(place, permit)
