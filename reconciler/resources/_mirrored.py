"""The side of a mirror that serves: promoted, mounted, and its engine's questions answered.

What `mirror-disk` and `hybrid-disk` have in common on the owner. The store's record decides who
may serve; each commit compares the ownership of the group.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reconciler.mirror.decide import promotion
from reconciler.mirror.decide.promotion import Current
from reconciler.plugin import Place
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
from reconciler.resources._disk_fields import MirroredDisk
from reconciler.resources._file_systems import FileSystems
from reconciler.resources._growing import Growing

RETRY_S = 0.05
RECORD_TRIES = 20
HAND_OVER_S = 3.0


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a mirror: what the record calls it and the other one, its disk, and the servers
    where the other one may be. `shared`: other servers see this disk, too."""

    name: str
    peer: str
    data: str
    metadata: str
    others: tuple[str, ...]
    shared: bool = False


def plan_of(
    spec: MirroredDisk, place: Place, mirror: str, size: int, side: Side, history: str = ""
) -> MirrorPlan:
    """What the engine of this server is told. Raises `ResourceError`."""
    servers = place.servers()
    mine, others = servers[place.server], [servers[name] for name in side.others]
    networks = [
        network
        for network in spec.networks or sorted(mine)
        if network in mine and all(network in theirs for theirs in others)
    ]
    if not networks:
        raise ResourceError("both servers need an address in the same network", retry=False)
    return MirrorPlan(
        name=mirror,
        server=side.name,
        peer=side.peer,
        data=side.data,
        metadata=side.metadata,
        size=size,
        port=spec.port,
        listen=tuple(mine[network] for network in networks),
        peers=tuple(theirs[network] for network in networks for theirs in others),
        asynchronous=spec.mode == "async",
        timeout_s=spec.peer_timeout,
        limit=spec.copy_limit,
        queue_limit=spec.queue_limit,
        history=history,
        shared=side.shared,
        encrypt=spec.encryption == "tls",
        compress=spec.compression == "zlib",
    )


def serving_side(spec: MirroredDisk, plan: Callable[[Place], MirrorPlan]) -> "ServingSide":
    systems = FileSystems(spec.disk_volumes(), spec.format_consent)
    return ServingSide(plan, systems, spec.unmount_grace, spec.stop_timeout)


@dataclass(frozen=True, slots=True)
class ServingSide:
    """One mirror with its file systems, as its spec wants it. `plan` raises `ResourceError`. Times
    in seconds; `grace_s` is what users of the disk have to end."""

    plan: Callable[[Place], MirrorPlan]
    systems: FileSystems
    grace_s: float
    stop_timeout_s: float

    async def observe(self, place: Place) -> Observation:
        view = await place.host.mirrors.view(place.name)
        mounted = await self.systems.mounted(place)
        if view is None or not view.serves:
            if not mounted:
                return Observation(ResourceState.INACTIVE)
            return Observation(ResourceState.FAILED, "its engine died under the file system")
        if view.over:
            return Observation(ResourceState.FAILED, view.over, view.epoch)
        if missing := self.systems.missing(mounted):
            return Observation(ResourceState.PARTIAL, missing, view.epoch)
        reason = "writes wait until the store answers" if view.suspended else ""
        details = {
            "device": ", ".join(mounted.values()),
            "stage": str(view.details.get("stage", "")),
        }
        return Observation(ResourceState.ACTIVE, reason, view.epoch, details)

    async def activate(
        self, place: Place, permit: Permit, make_ready: Callable[[], Awaitable[None]]
    ) -> None:
        """`make_ready` returns once the engine runs; it is called only when it does not serve at
        this epoch yet."""
        view = await place.host.mirrors.view(place.name)
        if view is not None and view.serves and view.epoch > permit.epoch:
            raise ResourceError(f"it serves at the newer epoch {view.epoch} already", retry=False)
        if view is None or not view.serves or view.over or view.epoch != permit.epoch:
            await self.deactivate(place, permit.epoch)
            await self.systems.refuse_strangers(place)
            await make_ready()
            first = await self._promote(place, permit)
        elif not self.systems.missing(await self.systems.mounted(place)):
            return
        else:
            first = False
        try:
            async with self._attending(place):
                await self._mount(place, permit, first)
        except PermitExpired:
            await self.end(place)
            raise

    async def _promote(self, place: Place, permit: Permit) -> bool:
        """True at the first start ever of this mirror."""
        mirrors, side = place.host.mirrors, self.plan(place).server
        view = await mirrors.view(place.name)
        if view is None:
            raise HostError("its engine does not run")
        current = await self._record(place)
        refusal = promotion.why_not(current, side, view.header, view.boot, permit.epoch)
        if refusal is not None:
            raise ResourceError(refusal, retry=False)
        permit.check()
        generation = await mirrors.prepare(place.name, current.generation if current else "")
        # After an answer that was lost the record may say so already.
        known = (current, Current((side,), generation, permit.epoch))
        permit.check()
        await self._commit(
            place,
            permit.epoch,
            lambda found: (
                promotion.alone(found, side, permit.epoch, generation) if found in known else None
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
        view = await Growing(place, permit, self.plan, self.systems).begin()
        await self.systems.mount(place, permit, view.path, view.header.size, first=first)

    async def deactivate(self, place: Place, epoch: int) -> None:
        """End the service of an epoch up to this one; the engine goes on, to follow."""
        view = await place.host.mirrors.view(place.name)
        if view is not None and view.serves and view.epoch > epoch:
            return
        await self.end(place)

    async def end(self, place: Place) -> None:
        mirrors, systems = place.host.mirrors, self.systems
        view = await mirrors.view(place.name)
        if view is None or not view.serves:
            await systems.tear_off(place)
            return
        deadline = place.clock.now() + self.stop_timeout_s * 0.8 - HAND_OVER_S
        async with self._attending(place):
            try:
                async with asyncio.timeout(self.stop_timeout_s * 0.6):
                    await systems.unmount(place, view.path, self.grace_s)
            except (HostError, TimeoutError):
                if not await self._is_stuck(place):
                    await systems.unmount(place, view.path, 0.0)
                else:
                    # What waits in it was never acknowledged.
                    await mirrors.abort(place.name, "it is stopped")
                    await systems.tear_off(place)
        await self._stop(place, view.epoch, deadline - place.clock.now())

    async def _stop(self, place: Place, epoch: int, left_s: float) -> None:
        """An asynchronous mirror may still owe the other side its last writes. If they do not
        arrive in time, the record names this side alone before the group is given away: a planned
        move loses nothing, it does not take place."""
        plan = self.plan(place)
        owes = plan.asynchronous
        mirrors = place.host.mirrors
        stopped = await mirrors.stop(place.name, max(5.0, left_s) if owes else 5.0)
        view = await mirrors.view(place.name) if owes and not stopped.handed_over else None
        if view is None:
            return
        generation = view.header.current

        def mine(found: Current | None) -> Current | None:
            known = found is not None and found.generation == generation
            return promotion.alone(found, plan.server, epoch, generation) if known else None

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

    # -- the engine's questions --------------------------------------------------------------------

    async def keep(self, place: Place, permit: Permit) -> None:
        """For ever: answer its questions, and let it grow."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer(place))
            tasks.create_task(Growing(place, permit, self.plan, self.systems).keep())

    async def _answer(self, place: Place) -> None:
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
        plan = self.plan(place)

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
