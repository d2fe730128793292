"""A disk that two servers have: each write is on both before it counts, and the other one takes
over with everything that was acknowledged."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from reconciler.mirror.decide import promotion
from reconciler.mirror.decide.promotion import Current
from reconciler.plugin import Place, ResourceType, StartLevel
from reconciler.ports.driver import (
    Observation,
    Permit,
    PermitExpired,
    ResourceError,
    ResourceState,
)
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import (
    MirrorPlan,
    Question,
    RecordLost,
    RecordUnavailable,
)
from reconciler.ports.volumes import FileSystem
from specs.resource import Use
from specs.scalars import ByteSize, Duration, Name, Port, impact

LOOK_EVERY_S = 2.0
RETRY_S = 0.05
RECORD_TRIES = 20
HAND_OVER_S = 3.0
STATE_DIRECTORY = "/var/lib/clusterctl/mirrors"
_KERNEL_NAME = re.compile(r"^/dev/(sd|vd|xvd|hd|nvme|loop|dm-|md\d)")


def _path(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or "\0" in text or ".." in PurePosixPath(text).parts:
        raise ValueError(f"{text!r} is not an absolute path")
    return text


def _stable_device(text: str) -> str:
    if _KERNEL_NAME.match(_path(text)):
        raise ValueError(
            f"{text} may name another disk after a restart: use /dev/disk/by-id/... or a logical "
            "volume"
        )
    return text


def _whole_sectors(size: int) -> int:
    if size % 4096:
        raise ValueError("the size must be a multiple of 4096 bytes")
    return size


AbsolutePath = Annotated[str, AfterValidator(_path)]


class MirrorDisk(ResourceType):
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
    is blank.

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
    device: Annotated[str, AfterValidator(_stable_device)] | None = Field(
        default=None,
        description="Block device with the data, by a name that stays.",
        json_schema_extra=impact(
            "resource", example="/dev/vg0/data", default_text="`file` is given"
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
    size: Annotated[ByteSize, Field(ge=16 << 20), AfterValidator(_whole_sectors)] = Field(
        description="Bytes of the disk, equal on both servers.",
        json_schema_extra=impact("resource", example="256MiB"),
    )
    mount_point: AbsolutePath = Field(
        description="Directory that the file system is mounted on.",
        json_schema_extra=impact("resource", example="/srv/data"),
    )
    file_system: Literal["ext4", "xfs", "btrfs"] = Field(
        default="ext4",
        description="Kind of the file system.",
        json_schema_extra=impact("resource", example="ext4"),
    )
    mount_options: str = Field(
        default="",
        description="Options of the mount.",
        json_schema_extra=impact("resource", example="noatime"),
    )
    format_consent: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Any word: the file system may be made at the first start ever, if blank.",
        json_schema_extra=impact("none", example="first-build", default_text="never"),
    )
    check: Literal["never", "always"] = Field(
        default="always",
        description="Whether the file system is checked before each mount.",
        json_schema_extra=impact("none", example="always"),
    )
    mode: Literal["sync", "async"] = Field(
        default="sync",
        description="Whether a write waits for the other side.",
        json_schema_extra=impact("resource", example="sync"),
    )
    port: Port = Field(
        default=7788,
        description="TCP port of the mirror on both servers; each mirror needs its own.",
        json_schema_extra=impact("resource", example=7788),
    )
    networks: tuple[Name, ...] = Field(
        default=(),
        description="Networks that carry the mirror, best first.",
        json_schema_extra=impact(
            "resource", example=["private"], default_text="those of both servers, by name"
        ),
    )
    peer_timeout: Annotated[Duration, Field(ge=0.2, le=60)] = Field(
        default=2.0,
        description="A side that is silent for longer is left behind; writes wait as long, once.",
        json_schema_extra=impact("resource", example="2s"),
    )
    copy_limit: ByteSize = Field(
        default=0,
        description="Bytes a second that the background copy may use; 0 is no limit.",
        json_schema_extra=impact("resource", example="50MiB"),
    )
    queue_limit: Annotated[ByteSize, Field(ge=1 << 20)] = Field(
        default=256 << 20,
        description="Bytes by which an asynchronous mirror may be behind before it falls back to "
        "copying differences.",
        json_schema_extra=impact("resource", example="256MiB"),
    )
    unmount_grace: Annotated[Duration, Field(ge=0, le=600)] = Field(
        default=5.0,
        description="Time for programs that still use the disk to end before they are killed.",
        json_schema_extra=impact("none", example="5s"),
    )

    @model_validator(mode="after")
    def _one_place(self) -> "MirrorDisk":
        if (self.file is None) == (self.device is None):
            raise ValueError("give either file or device")
        return self

    def uses(self) -> tuple[Use, ...]:
        data = Use("device" if self.device else "file", self.device or self.file or "")
        return (data, Use("mountPoint", self.mount_point))

    def side_of(self, server: str, server_groups: Sequence[str]) -> str | None:  # noqa: ARG002
        return server

    # -- on every server of the group --------------------------------------------------------------

    async def follow(self, place: Place) -> None:
        told = ""
        while True:
            try:
                await place.host.mirrors.ensure(self._plan(place))
                told = ""
            except (HostError, ResourceError) as error:
                if str(error) != told:
                    told = str(error)
                    place.events.emit("mirror_not_following", resource=place.name, reason=told)
            await place.clock.sleep(LOOK_EVERY_S)

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
        mine, theirs = servers[place.server], servers[others[0]]
        networks = [n for n in self.networks or sorted(mine) if n in mine and n in theirs]
        if not networks:
            raise ResourceError("both servers need an address in the same network", retry=False)
        base = self.metadata_file or f"{STATE_DIRECTORY}/{place.name}.mirror"
        return MirrorPlan(
            name=place.name,
            server=place.server,
            peer=others[0],
            data=self.file or self.device or "",
            metadata=base,
            size=self.size,
            port=self.port,
            listen=tuple(mine[network] for network in networks),
            peers=tuple(theirs[network] for network in networks),
            asynchronous=self.mode == "async",
            timeout_s=self.peer_timeout,
            limit=self.copy_limit,
            queue_limit=self.queue_limit,
            history=f"{base}.history" if self.mode == "async" else "",
        )

    # -- on the owner ----------------------------------------------------------------------------

    async def observe(self, place: Place) -> Observation:
        view = await place.host.mirrors.view(place.name)
        device = await place.host.volumes.mounted(self.mount_point)
        if view is None or not view.serves:
            if device is None:
                return Observation(ResourceState.INACTIVE)
            return Observation(ResourceState.FAILED, "its engine died under the file system")
        if view.over:
            return Observation(ResourceState.FAILED, view.over, view.epoch)
        if device is None:
            return Observation(ResourceState.PARTIAL, "it is not mounted", view.epoch)
        reason = "writes wait until the store answers" if view.suspended else ""
        details = {"device": device, "stage": str(view.details.get("stage", ""))}
        return Observation(ResourceState.ACTIVE, reason, view.epoch, details)

    async def prepare(self, place: Place) -> None:
        await place.host.mirrors.ensure(self._plan(place))

    async def activate(self, place: Place, permit: Permit) -> None:
        mirrors, volumes = place.host.mirrors, place.host.volumes
        view = await mirrors.view(place.name)
        if view is not None and view.serves and view.epoch > permit.epoch:
            raise ResourceError(f"it serves at the newer epoch {view.epoch} already", retry=False)
        if view is None or not view.serves or view.over or view.epoch != permit.epoch:
            await self.deactivate(place, permit.epoch)
            await mirrors.ensure(self._plan(place))
            first = await self._promote(place, permit)
        elif await volumes.mounted(self.mount_point) is not None:
            return
        else:
            first = False
        try:
            async with self._attending(place):
                await self._mount(place, permit, first)
        except PermitExpired:
            await self._end(place)
            raise

    async def _promote(self, place: Place, permit: Permit) -> bool:
        """True at the first start ever of this mirror."""
        mirrors = place.host.mirrors
        view = await mirrors.view(place.name)
        if view is None:
            raise HostError("its engine does not run")
        current = await self._record(place)
        refusal = promotion.why_not(current, place.server, view.header, view.boot, permit.epoch)
        if refusal is not None:
            raise ResourceError(refusal, retry=False)
        permit.check()
        generation = await mirrors.prepare(place.name, current.generation if current else "")
        permit.check()
        await self._commit(
            place,
            permit.epoch,
            lambda found: (
                promotion.alone(found, place.server, permit.epoch, generation)
                if found == current
                else None
            ),
        )
        permit.check()
        await mirrors.promote(place.name, permit.epoch, generation)
        if not permit.is_valid():
            await mirrors.stop(place.name)
            permit.check()
        return current is None

    async def _record(self, place: Place) -> Current | None:
        for _ in range(RECORD_TRIES):
            try:
                return await place.records.read(place.name)
            except RecordUnavailable as error:
                reason = str(error)
                await place.clock.sleep(RETRY_S)
        raise HostError(f"the store does not say who is current: {reason}")

    async def _commit(self, place: Place, epoch: int, change: promotion.Change) -> None:
        for _ in range(RECORD_TRIES):
            try:
                await place.records.commit(place.name, place.group, epoch, change)
            except RecordLost as error:
                raise ResourceError(str(error)) from error
            except RecordUnavailable as error:
                reason = str(error)
                await place.clock.sleep(RETRY_S)
            else:
                return
        raise HostError(f"the store does not take who is current: {reason}")

    async def _mount(self, place: Place, permit: Permit, first: bool) -> None:
        volumes = place.host.volumes
        view = await place.host.mirrors.view(place.name)
        if view is None:
            raise HostError("its engine ended")
        permit.check()
        device = await volumes.attach(view.path)
        try:
            if first and self.format_consent and await volumes.is_blank(device):
                await volumes.make_file_system(device, self.file_system, permit)
                place.events.emit("mirror_formatted", resource=place.name, kind=self.file_system)
            system = FileSystem(self.file_system, self.mount_options, self.check)
            await volumes.mount(device, self.mount_point, system, permit)
        finally:
            await volumes.detach(view.path)

    async def deactivate(self, place: Place, epoch: int) -> None:
        view = await place.host.mirrors.view(place.name)
        if view is not None and view.serves and view.epoch > epoch:
            return
        await self._end(place)

    async def _end(self, place: Place) -> None:
        mirrors, volumes = place.host.mirrors, place.host.volumes
        view = await mirrors.view(place.name)
        if view is None or not view.serves:
            await volumes.tear_off(self.mount_point)
            return
        deadline = place.clock.now() + self.stop_timeout * 0.8 - HAND_OVER_S
        async with self._attending(place):
            try:
                async with asyncio.timeout(self.stop_timeout * 0.6):
                    await volumes.unmount(self.mount_point, self.unmount_grace)
            except (HostError, TimeoutError):
                if not await self._is_stuck(place):
                    await volumes.unmount(self.mount_point, 0.0)
                else:
                    # What waits in it was never acknowledged.
                    await mirrors.abort(place.name, "it is stopped")
                    await volumes.tear_off(self.mount_point)
        await self._stop(place, view.epoch, deadline - place.clock.now())

    async def _stop(self, place: Place, epoch: int, left_s: float) -> None:
        """An asynchronous mirror may still owe the other side its last writes. If they do not
        arrive in time, the record names this side alone before the group is given away: a planned
        move loses nothing, it does not take place."""
        owes = self.mode == "async"
        mirrors = place.host.mirrors
        stopped = await mirrors.stop(place.name, max(5.0, left_s) if owes else 5.0)
        view = await mirrors.view(place.name) if owes and not stopped.handed_over else None
        if view is None:
            return
        generation = view.header.current

        def mine(found: Current | None) -> Current | None:
            known = found is not None and found.generation == generation
            return promotion.alone(found, place.server, epoch, generation) if known else None

        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._commit(place, epoch, mine)
        except ResourceError:
            return  # it belongs to somebody else already, who has a proof, or was named alone
        except (HostError, TimeoutError) as error:
            reason = str(error) or "the store did not answer in time"
            place.events.emit("mirror_tail_at_risk", resource=place.name, reason=reason)

    async def _is_stuck(self, place: Place) -> bool:
        """A disk that answers nothing any more can't be unmounted in order."""
        view = await place.host.mirrors.view(place.name)
        return view is None or not view.serves or view.suspended or bool(view.over)

    async def changed(self, place: Place) -> None:
        await place.host.mirrors.changed(place.name)

    # -- the engine's questions --------------------------------------------------------------------

    async def keep(self, place: Place, permit: Permit) -> None:  # noqa: ARG002 - the record decides
        """The ownership is compared with each answer, in the transaction; a permit adds nothing."""
        while True:
            await self._attend(place)
            await place.clock.sleep(RETRY_S)

    @asynccontextmanager
    async def _attending(self, place: Place) -> AsyncIterator[None]:
        """Answer its questions meanwhile: a peer may be lost at any moment."""
        task = asyncio.create_task(self._attend(place))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # whoever waits for an answer says so

    async def _attend(self, place: Place) -> None:
        plan = self._plan(place)

        async def decide(question: Question) -> str | None:
            epoch, generation = question.epoch, question.generation

            def change(found: Current | None) -> Current | None:
                if question.kind == "alone":
                    return promotion.alone(found, plan.server, epoch, generation)
                return promotion.both(found, plan.server, plan.peer, epoch, generation)

            while True:
                try:
                    await place.records.commit(place.name, place.group, epoch, change)
                except RecordLost as error:
                    return str(error)
                except RecordUnavailable:
                    await place.clock.sleep(RETRY_S)
                else:
                    return None

        await place.host.mirrors.attend(place.name, decide)
