"""Makes a `ports.driver.Driver` of a resource's model and the place where it runs.

Called by the group runner, once for each resource of a group that this server owns.
"""

import asyncio

from reconciler.plugin import Place, ResourceType
from reconciler.ports.disks import Claim
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from reconciler.ports.host import DiskGone, Host, HostError, StopPlan
from specs.resource import STANDBY_SUFFIX, Resource

GIVE_UP_TIMEOUT_S = 6.0
UNMOUNT_GRACE_S = 5.0
PREPARED_FOR_S = 1.0
"""A preparation older than this is repeated: another machine may use the address by now."""


class BoundDriver:
    """One resource on this server (`ports.driver.Driver`), and its upkeep while it is active."""

    def __init__(self, spec: ResourceType, place: Place) -> None:
        self.spec = spec
        self.place = place
        self._seen: Observation | None = None
        self._prepared_at: float | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._upkeep_epoch = 0

    async def observe(self) -> Observation:
        """Changes nothing. What can't be observed in time is `UNKNOWN`, with the reason."""
        self._seen = await self._observe()
        return self._seen

    async def prepare(self) -> None:
        """Run the checks of an activation before the permit exists, while the old owner goes. An
        `activate` within a second does not repeat them. Raises `ResourceError`."""
        await self._end_preparation()
        self._preparing = asyncio.create_task(
            self._prepare(), name=f"preparation of resource {self.place.name}"
        )
        self._preparing.add_done_callback(_see)
        await asyncio.shield(self._preparing)

    async def _prepare(self) -> None:
        self._prepared_at = None
        try:
            async with asyncio.timeout(self.spec.start_timeout):
                await self.spec.prepare(self.place)
        except HostError as error:
            raise ResourceError(str(error)) from error
        except TimeoutError:
            raise ResourceError(f"its checks took longer than {self._start_limit}") from None
        self._prepared_at = self.place.clock.now()

    async def _end_preparation(self) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            await _ended(preparing)

    async def activate(self, permit: Permit) -> None:
        """Start, or adopt what runs at this epoch already (after a restart of the agent), and do
        its upkeep from now on. Raises `ResourceError` or `PermitExpired`."""
        permit.check()
        try:
            async with asyncio.timeout(self.spec.start_timeout):
                if self._preparing is not None:
                    await asyncio.wait({self._preparing})
                if not self._is_prepared() and not await self._is_active():
                    await self.spec.prepare(self.place)
                self._prepared_at = None
                permit.check()
                await self.spec.activate(self.place, permit)
        except HostError as error:
            raise ResourceError(str(error)) from error
        except TimeoutError:
            text = f"start took longer than {self._start_limit}{await self._given_up(permit)}"
            raise ResourceError(text) from None
        await self._begin_upkeep(permit)

    async def _given_up(self, permit: Permit) -> str:
        try:
            async with asyncio.timeout(GIVE_UP_TIMEOUT_S):
                return await self.spec.give_up(self.place, permit.epoch)
        except HostError as error:
            return f"; {error}"
        except TimeoutError:
            return "; what it started could not be ended in time"

    async def deactivate(self, epoch: int) -> None:
        """Stop what was started at an epoch <= `epoch`; returns when it is gone. Raises
        `ResourceError` when it does not go, or not within the stop time-out."""
        if self._upkeep_epoch <= epoch:
            await self.close()
        try:
            async with asyncio.timeout(self.spec.stop_timeout):
                await self.spec.deactivate(self.place, epoch)
        except HostError as error:
            raise ResourceError(str(error)) from error
        except TimeoutError:
            raise ResourceError(f"stop took longer than {self.spec.stop_timeout:g} s") from None

    async def changed(self) -> None:
        """Returns as soon as the state differs from the last `observe` (at once when there was
        none), so that nothing that happened in between is missed."""
        while True:
            waiter = asyncio.ensure_future(self.spec.changed(self.place))
            try:
                # Let the waiter register before the state is read: no gap to lose a change in.
                await asyncio.sleep(0)
                if self._differs(await self._observe()):
                    return
                await waiter
            except HostError as error:
                raise ResourceError(str(error)) from error
            finally:
                await _ended(waiter)

    async def close(self) -> None:
        """End the upkeep; what runs goes on. Call when the agent ends or the group leaves."""
        await self._end_preparation()
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            await _ended(upkeep)

    @property
    def _start_limit(self) -> str:
        return f"{self.spec.start_timeout:g} s"

    async def _observe(self) -> Observation:
        try:
            async with asyncio.timeout(self.spec.observe_timeout):
                return await self.spec.observe(self.place)
        except HostError as error:
            return Observation(ResourceState.UNKNOWN, reason=str(error))
        except TimeoutError:
            return Observation(ResourceState.UNKNOWN, reason="the host did not answer in time")

    def _differs(self, now: Observation) -> bool:
        seen = self._seen
        return seen is None or (seen.state, seen.epoch) != (now.state, now.epoch)

    async def _is_active(self) -> bool:
        return (await self._observe()).state is ResourceState.ACTIVE

    def _is_prepared(self) -> bool:
        at = self._prepared_at
        return at is not None and self.place.clock.now() - at <= PREPARED_FOR_S

    async def _begin_upkeep(self, permit: Permit) -> None:
        await self.close()
        self._upkeep_epoch = permit.epoch
        self._upkeep = asyncio.create_task(
            self._keep(permit), name=f"upkeep of resource {self.place.name}"
        )

    async def _keep(self, permit: Permit) -> None:
        try:
            await self.spec.keep(self.place, permit)
        except Exception as error:  # noqa: BLE001 - upkeep must not end the agent, and is reported
            self.place.events.emit(
                "resource_upkeep_failed", resource=self.place.name, reason=str(error)
            )


def _see(task: "asyncio.Task[None]") -> None:
    """Its failure is known, also when nobody waits for it any more."""
    if not task.cancelled():
        task.exception()


async def _ended(task: "asyncio.Future[None]") -> None:
    """Cancel and wait, without taking a cancellation of the caller for the task's own."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # raised where it matters, or reported by the upkeep itself


class LeftoverDriver:
    """A resource of which only the name is known: it can be seen and stopped, never started."""

    def __init__(self, host: Host, name: str) -> None:
        self._host, self._name = host, name

    async def observe(self) -> Observation:
        try:
            found = await leftovers(self._host)
        except HostError as error:
            return Observation(ResourceState.UNKNOWN, reason=str(error))
        if self._name not in found:
            return Observation(ResourceState.INACTIVE)
        return Observation(ResourceState.ACTIVE, "its settings are not known", found[self._name])

    async def prepare(self) -> None:
        """Nothing is ever started."""

    async def activate(self, permit: Permit) -> None:  # noqa: ARG002 - nothing is ever started
        raise ResourceError("its settings are not known", retry=False)

    async def deactivate(self, epoch: int) -> None:
        try:
            await clear(self._host, self._name, epoch)
        except HostError as error:
            raise ResourceError(str(error)) from error

    async def changed(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Nothing is kept up."""


def bind(resource: Resource, place: Place) -> BoundDriver:
    """Raises `TypeError` when the resource was loaded without its type's model."""
    if not isinstance(resource.spec, ResourceType):
        raise TypeError(f"resource {resource.metadata.name} has no driver: {resource.spec.type}")
    return BoundDriver(resource.spec, place)


async def leftovers(host: Host) -> dict[str, int]:
    """What resources hold on this server, by name, with the epoch it was started at (0: unknown).

    For a starting agent: names that no spec knows any more are cleared with `clear`.
    """
    found = {held.owner: held.epoch or 0 for held in await host.network.addresses() if held.owner}
    found.update((name, claim.epoch) for name, claim in host.disks.claims().items())
    for name in host.runners.names():
        found[name] = (await host.runners.observe(name)).epoch or 0
    return found


async def clear(host: Host, name: str, epoch: int) -> None:
    """Stop what the named resource holds from an epoch <= `epoch`, without its spec: the runner
    gets SIGTERM and 20 s, a disk is unmounted, its mirror's engine ends, addresses go. Raises
    `HostError` when something does not go."""
    await host.runners.stop(name, epoch, StopPlan())
    claim = host.disks.claims().get(name)
    if claim is not None and claim.epoch <= epoch:
        if claim.directory:
            await host.volumes.unmount(claim.directory, UNMOUNT_GRACE_S)
        if await _end_engine(host, name):
            await _see_free(host, claim)
        if claim.reserved:
            await host.disks.release(claim.device, name, claim.epoch)
        host.disks.disclaim(name)
    for held in await host.network.addresses():
        if held.owner == name and (held.epoch or 0) <= epoch:
            await host.network.remove_address(held)


async def _see_free(host: Host, claim: Claim) -> None:
    """Raises `HostError` when the disk is in use, or when that is not known."""
    if not claim.is_device:
        await host.volumes.until_free(claim.device)
        return
    try:
        view = await host.disks.look(claim.node or claim.device)
    except DiskGone:
        return
    if view.taken:
        raise HostError(f"{claim.device} is still in use on this server")


async def _end_engine(host: Host, name: str) -> bool:
    """Of a mirror on a disk that other servers see: it must not write any more when the disk counts
    as free. Both roles have one; the one that serves keeps it: False."""
    mirror = name.removesuffix(STANDBY_SUFFIX)
    if mirror != name and mirror in host.disks.claims():
        return False
    view = await host.mirrors.view(mirror)
    if view is not None and view.serves:
        for mount in await host.volumes.mounts_of(view.path):  # the claim names one of several
            await host.volumes.unmount(mount.directory, UNMOUNT_GRACE_S)
        await host.mirrors.stop(mirror)
    await host.mirrors.quit(mirror)
    return True
