"""Runs the standby scripts of groups that other servers run (`decide.standby`).

Each runs once for each epoch, away from the agent, with its own time-out; one that is not wanted
any more is killed. What was run is known to this agent only: after its start the scripts of groups
that run elsewhere run again, as a recovery.
"""

import asyncio
from dataclasses import replace

from reconciler.decide.circumstances import RECOVER, START, circumstances, script_variables
from reconciler.decide.snapshot import Snapshot, Specs
from reconciler.decide.standby import STANDBY_START, is_due, standby_wish
from reconciler.loops.act import wait_for
from reconciler.loops.recovery_script import RunScript
from reconciler.loops.state import AgentState
from reconciler.plugin import ResourceType
from reconciler.ports.host import HostError
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.resource import Resource

AT_ONCE = 4
LOOK_EVERY_S = 1.0


class StandbyLoop:
    """Keeps `last` (action, epoch) of each resource, and the task that runs its script."""

    def __init__(self, state: AgentState, run: RunScript) -> None:
        self._state, self._run = state, run
        self._wake, self._new_specs = state.new_wake(), state.new_spec_wake()
        self._last: dict[str, tuple[str, int]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._first = True
        self._seen: Specs | None = None
        self._found: dict[str, Resource] = {}

    async def run(self) -> None:
        """For ever; a script's failure is reported and ends nothing."""
        await self._state.mirror.status_synced.wait()
        try:
            while True:
                self._wake.clear()
                self._new_specs.clear()
                # Nearly no cluster has any, and this would be asked at every change.
                busy = bool(self._resources() or self._tasks)
                if busy:
                    self._look(self._state.snapshot())
                self._first = self._first and self._state.specs is None
                wake = self._wake if busy else self._new_specs
                await wait_for(self._state, wake, LOOK_EVERY_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _resources(self) -> dict[str, Resource]:
        """Those with standby scripts, looked for once for each revision."""
        specs = self._state.specs
        if specs is not None and specs is not self._seen:
            self._seen = specs
            self._found = {
                name: resource
                for name, resource in sorted(specs.resources.items())
                if isinstance(resource.spec, ResourceType) and resource.spec.has_standby
            }
        return self._found

    def _look(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        found = self._found
        for name in set(self._tasks) - set(found):
            self._tasks.pop(name).cancel()
        for name, resource in found.items():
            group = resource.spec.group
            stored = snapshot.ownerships.get(group)
            if stored is not None and stored.record.owner == snapshot.me:
                # It runs here now: whatever prepared for that is over.
                self._end(name)
                self._last.pop(name, None)
                continue
            wish = standby_wish(snapshot, group)
            if wish is not None and is_due(wish, self._last.get(name)):
                self._end(name)
                self._last[name] = wish
                event = RECOVER if self._first and wish[0] == STANDBY_START else START
                self._tasks[name] = asyncio.create_task(
                    self._guarded(resource, wish, event), name=f"{wish[0]} of {name}"
                )

    def _end(self, name: str) -> None:
        if name in self._tasks:
            self._tasks.pop(name).cancel()

    async def _guarded(self, resource: Resource, wish: tuple[str, int], event: str) -> None:
        async with self._room:
            try:
                said = await self._script(resource, wish, event)
            except (HostError, ProbeUnavailable) as error:
                said = Sample(None, str(error))
        if said is not None and not said.healthy:
            lines = said.output.strip().splitlines()
            last = f"; its last words: {lines[-1][:200]}" if lines else ""
            self._state.events.emit(
                "script_failed",
                group=resource.spec.group,
                resource=resource.metadata.name,
                script=wish[0],
                reason=f"{said.reason}{last}",
            )

    async def _script(self, resource: Resource, wish: tuple[str, int], event: str) -> Sample | None:
        action, epoch = wish
        spec, name = resource.spec, resource.metadata.name
        found = spec.standby(action) if isinstance(spec, ResourceType) else None
        if found is None:
            return None
        told = replace(circumstances(self._state.snapshot(), spec.group, name), event=event)
        variables = script_variables(
            told,
            group=spec.group,
            resource=name,
            server=self._state.me,
            epoch=epoch,
            action=action,
        )
        environment = {**found.environment, **variables}
        return await self._run(name, found.script, environment, found.timeout_s, found.directory)
