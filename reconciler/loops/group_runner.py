"""Drives one group on this server to its wish: start in order, keep, stop in reverse.

The runner never decides whether the group may run: each activation asks `may_activate` again, right
before its irreversible step. It reports what it sees as a `LocalGroup` and a `GroupStatus`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from reconciler.decide.actions import LocalWant, Want
from reconciler.decide.leases import may_activate
from reconciler.decide.records import GroupStatus, Phase
from reconciler.decide.snapshot import LocalGroup
from reconciler.loops.act import wait_for
from reconciler.loops.group_slots import GroupSlots, MakeDriver
from reconciler.loops.resource_slot import UNKNOWN_PAUSE_S, ResourceSlot, first_change
from reconciler.loops.start_order import levels, wanted, with_dependents
from reconciler.loops.state import AgentState
from reconciler.ports.driver import Permit, PermitExpired, ResourceError, ResourceState
from specs.diff import disturbs
from specs.group import GroupSpec
from specs.resource import Resource

PERMIT_RETRY_S = 0.2
STOP_RETRY_S = 0.5


class GroupRunner:
    """One group; `slots`: see `GroupSlots`."""

    def __init__(
        self,
        group: str,
        state: AgentState,
        make_driver: MakeDriver,
        adopted: Mapping[str, Resource] | None = None,
        epoch: int = 0,
    ) -> None:
        self.group, self._state = group, state
        self._epoch = epoch
        self._want: LocalWant | None = None
        self._revision = 0
        self._kick = asyncio.Event()
        self._restarts: list[float] = []
        self.failure, self.stuck = "", ""
        self._asked: tuple[str | None, str] | None = None
        self._settled, self.settled_at = False, state.clock.now()
        self._here = GroupSlots(group, state, make_driver, adopted or {})
        self.phase = Phase.STARTING if self.slots else Phase.OFFLINE
        self.since_wall = state.clock.wall()
        self.start_ms: float | None = None
        self.stop_ms: float | None = None
        self._found: dict[str, Any] = {}
        self._told: GroupStatus | None = None
        self._publish()

    @property
    def slots(self) -> dict[str, ResourceSlot]:
        return self._here.slots

    # -- wishes ------------------------------------------------------------------------------

    def want(self, want: LocalWant) -> None:
        """Called at each decision; only a change wakes the runner."""
        revision = self._state.specs.revision if self._state.specs else 0
        if want != self._want or revision != self._revision:
            self._want, self._revision = want, revision
            self._kick.set()

    @property
    def is_settled(self) -> bool:
        """Everything that is wanted was started and not found otherwise since (`settled_at`)."""
        return self._settled and self.phase is Phase.ONLINE and not self.failure

    def restart(self, resource: str | None, reason: str) -> bool:
        """A monitor's recovery: stop and start a resource with what depends on it, or all (None).
        Counts among the group's `restarts`. False when they are used up, or when the group or the
        resource is not settled here."""
        if not self.is_settled or (resource is not None and resource not in self.slots):
            return False
        if self.restarts_left <= 0:
            return False
        self._asked, self._settled = (resource, reason), False
        self._kick.set()
        return True

    def fail(self, reason: str) -> bool:
        """A monitor's recovery: this epoch gives up here; False when the group is not settled."""
        if not self.is_settled:
            return False
        self._fail(reason)
        return True

    async def run(self) -> None:
        """For ever; a wish to stop interrupts a start, nothing interrupts a stop."""
        while True:
            want = self._want
            self._kick.clear()
            if want is None:
                await self._kick.wait()
                continue
            task = asyncio.create_task(self._reach(want))
            try:
                await self._until_done_or_replaced(task, want)
            finally:
                if not task.done():
                    task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
            if want != self._want:
                continue
            if want.want is Want.RUN or self._is_over(want):
                await self._kick.wait()
            else:
                await wait_for(self._state, self._kick, self._state.jitter(STOP_RETRY_S))

    def _is_over(self, want: LocalWant) -> bool:
        """A wish to stop that leaves nothing to do."""
        dropped = self._state.dropped.get(self.group, 0) >= want.epoch
        given_up = want.want is not Want.RELEASE or dropped
        return given_up and self.phase is Phase.OFFLINE

    async def _until_done_or_replaced(self, task: "asyncio.Task[None]", want: LocalWant) -> None:
        while not task.done():
            kick = asyncio.ensure_future(self._kick.wait())
            await asyncio.wait({task, kick}, return_when=asyncio.FIRST_COMPLETED)
            kick.cancel()
            self._kick.clear()
            new = self._want
            replaced = new is not None and (new.want is not Want.RUN or new.epoch != want.epoch)
            if want.want is Want.RUN and replaced:
                return

    async def _reach(self, want: LocalWant) -> None:
        if want.want is Want.RUN:
            await self._run_at(want)
        else:
            await self._stop(want)

    # -- running -----------------------------------------------------------------------------

    def permit(self, epoch: int) -> Permit:
        return Permit(epoch, lambda: self._why_not(epoch) is None)

    def _why_not(self, epoch: int) -> str | None:
        want, snapshot = self._want, self._state.snapshot()
        if snapshot is None or want is None or want.want is not Want.RUN or want.epoch != epoch:
            return "the group is not wanted here"
        return may_activate(snapshot, self.group, epoch)

    async def _run_at(self, want: LocalWant) -> None:
        while self._want is not None and self._want.want is Want.RUN:
            try:
                if self._epoch != want.epoch:
                    await self._begin_epoch(want)
                if self.failure:
                    return
                await self._bring_up(self._want)
                await self._watch()
            except PermitExpired as error:
                self._state.events.emit(
                    "activation_waits", group=self.group, epoch=want.epoch, reason=str(error)
                )
                await self._state.clock.sleep(self._state.jitter(PERMIT_RETRY_S))
            except ResourceError as error:
                self._fail(str(error))
                return

    async def _begin_epoch(self, want: LocalWant) -> None:
        """What an older epoch left here is stopped before the new one starts anything."""
        if self.slots:
            await self._deactivate(list(self.slots), want.epoch)
        self._restarts.clear()
        self._asked = None
        self._here.rested.clear()
        self.failure = self.stuck = ""
        self._epoch = want.epoch
        self._set_phase(Phase.STARTING)

    async def _bring_up(self, want: LocalWant) -> None:
        """Stop what is not wanted any more, start what is missing, in order."""
        specs = self._state.specs
        if specs is None or self.group not in specs.groups:
            # The grant was quicker than the specs: nothing to start is not the same as all is up.
            raise PermitExpired("the group's specs are not read here yet")
        resources = wanted(self._specified(), want.stopped_resources)
        known = {**resources, **self._here.rested}
        self._here.hold({n: r for n, r in self._specified().items() if n not in known})
        gone = [
            name
            for name, slot in self.slots.items()
            if name not in resources or disturbs(slot.resource, resources[name])
        ]
        await self._here.take_over(resources, gone)
        if gone:
            await self._deactivate(with_dependents(gone, self._here.running()), want.epoch)
        began = self._state.clock.now()
        missing = [name for name in resources if not self._here.is_up(name)]
        if missing and (self.phase is not Phase.ONLINE or not self.slots):
            # Also at an epoch that was stopped here before: what may run is never called offline.
            self._set_phase(Phase.STARTING)
        if missing:
            self._here.remember({**self._here.running(), **resources}, want.epoch)
        for level in levels(resources):
            names = [name for name in level if name in missing]
            await self._activate_level({n: resources[n] for n in names}, want.epoch)
        if missing:
            self.settled_at = self._state.clock.now()
            self.start_ms = (self.settled_at - began) * 1000
        self._settled = True
        if self.phase is not Phase.ONLINE:
            self._set_phase(Phase.ONLINE)
            self._state.events.emit(
                "group_online",
                group=self.group,
                epoch=want.epoch,
                duration_ms=round(self.start_ms or 0.0, 1),
            )
        self._publish()

    async def _activate_level(self, resources: Mapping[str, Resource], epoch: int) -> None:
        self._here.hold(resources)
        group = self._group_spec()
        retries = group.activation_retries if group else 0
        results = await asyncio.gather(
            *(self.slots[n].activate(self.permit(epoch), retries) for n in resources),
            return_exceptions=True,
        )
        errors = [r for r in results if isinstance(r, BaseException)]
        self._publish()
        # A lost permit is no failure of the resource: it goes first.
        for error in sorted(errors, key=lambda e: not isinstance(e, PermitExpired)):
            raise error

    async def _watch(self) -> None:
        """Until something is not as it should be: a resource, the spec, or the wish."""
        want, revision = self._want, self._revision
        while self._want == want and self._revision == revision:
            if self._asked is not None:
                await self._restart_as_asked(*self._asked)
                return
            name = await first_change(self.slots, self._kick, self._state)
            if name is None:
                continue
            slot = self.slots[name]
            observation = await slot.observe()
            if observation.state is ResourceState.UNKNOWN:
                await self._state.clock.sleep(self._state.jitter(UNKNOWN_PAUSE_S))
            if observation.state is ResourceState.ACTIVE:
                slot.end_drift(self._epoch, repaired=False)
            if observation.state in (ResourceState.ACTIVE, ResourceState.UNKNOWN):
                self._publish()
                continue
            repaired = slot.is_repaired(observation.state)
            self._settled = self._settled and not repaired
            slot.note_drift(observation, self._epoch)
            self._publish()
            if not repaired:
                continue
            if not self._may_restart():
                self._fail(f"{name} {observation.state.value}: {observation.reason}")
                return
            slot.restarts += 1
            if observation.state is not ResourceState.INACTIVE:
                await slot.deactivate(self._epoch)
            return

    async def _restart_as_asked(self, resource: str | None, reason: str) -> None:
        self._asked = None
        named = list(self.slots)
        if resource is not None:
            named = with_dependents([resource], self._here.running())
        names = sorted(name for name in named if name in self.slots)
        if not self._may_restart():
            return  # something died meanwhile and took the last one
        self._state.events.emit(
            "resources_restarted", group=self.group, resources=names, reason=reason
        )
        await self._deactivate(names, self._epoch)

    def _may_restart(self) -> bool:
        if self.restarts_left <= 0:
            return False
        self._restarts.append(self._state.clock.now())
        return True

    @property
    def restarts_left(self) -> int:
        """In place, on this server, within the group's window."""
        group = self._group_spec()
        if group is None:
            return 0
        now, limit = self._state.clock.now(), group.restarts
        self._restarts = [at for at in self._restarts if now - at < limit.window]
        return limit.max - len(self._restarts)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._set_phase(Phase.FAILED)
        self._state.events.emit("group_failed", group=self.group, epoch=self._epoch, reason=reason)

    # -- stopping ----------------------------------------------------------------------------

    async def _stop(self, want: LocalWant) -> None:
        """End everything up to the wish's epoch; with RELEASE the epoch is dropped first."""
        if want.want is Want.RELEASE and not self._drop_epoch(want.epoch):
            return
        if self.phase is Phase.OFFLINE and self._epoch == want.epoch and not self.slots:
            self._publish()
            return
        if self.phase is not Phase.STOPPING:
            self._set_phase(Phase.STOPPING)
        # After a restart nothing is known: stopped is only what was seen stopped.
        self._here.hold(self._specified())
        began = self._state.clock.now()
        try:
            await self._deactivate(list(self.slots), want.epoch)
        except ResourceError as error:
            self.stuck = str(error)
            self._state.events.emit("group_stop_failed", group=self.group, reason=self.stuck)
            self._publish()
            return
        self.stuck = ""
        self._epoch = want.epoch
        self.stop_ms = (self._state.clock.now() - began) * 1000
        self._state.local_state.save_started(self.group, None)
        self._set_phase(Phase.OFFLINE)
        self._state.events.emit(
            "group_stopped",
            group=self.group,
            epoch=want.epoch,
            reason=want.cause,
            duration_ms=round(self.stop_ms, 1),
        )

    def _drop_epoch(self, epoch: int) -> bool:
        """False when it could not be made durable (a full disk): then it is tried again, and
        nothing of this epoch is released meanwhile."""
        try:
            self._state.drop_epoch(self.group, epoch)
        except OSError as error:
            reason = f"epoch {epoch} cannot be given up durably: {error}"
            self._state.events.emit("group_stop_failed", group=self.group, reason=reason)
            return False
        return True

    async def _deactivate(self, names: list[str], epoch: int) -> None:
        """Raises `ResourceError` when something does not go."""
        group = self._group_spec()
        await self._here.deactivate(names, epoch, group.deactivation_retries if group else 0)

    # -- reporting ---------------------------------------------------------------------------

    def _specified(self) -> Mapping[str, Resource]:
        return self._state.specs.resources_of(self.group) if self._state.specs else {}

    def _group_spec(self) -> GroupSpec | None:
        group = self._state.specs.groups.get(self.group) if self._state.specs else None
        return group.spec if group else None

    def _set_phase(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase, self.since_wall = phase, self._state.clock.wall()
        self._publish()

    def _publish(self) -> None:
        local = LocalGroup(self.group, self._epoch, self.phase, self.failure, self.stuck)
        if self._state.local_groups.get(self.group) != local:
            self._state.local_groups[self.group] = local
        self._state.wake()

    def status(self) -> GroupStatus:
        """What this server says of the group; published by the status loop."""
        left = [slot.left for _, slot in sorted(self.slots.items())]
        reasons = tuple(text for text in (self.failure, self.stuck, *left) if text)
        slots = self._here.shown(self._specified())
        specs = self._state.specs
        found: dict[str, Any] = {
            "epoch": self._epoch,
            "phase": self.phase,
            "reasons": reasons,
            "resources": tuple(slot.facts() for slot in slots),
            "revision": specs.revision if specs else 0,
            "since_wall": self.since_wall,
            "start_ms": self.start_ms,
            "stop_ms": self.stop_ms,
        }
        # Asked at each change of anything on this server: the same record while nothing changed.
        if self._told is None or found != self._found:
            more = {**found, "resources": tuple(slot.status() for slot in slots)}
            self._found = found
            self._told = GroupStatus(group=self.group, server=self._state.me, **more)
        return self._told

    async def close(self) -> None:
        """End upkeep without stopping anything (the agent goes, the services stay)."""
        await self._here.close()
