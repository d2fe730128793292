"""Gets the resources of groups ready that will probably come here: checks, a holder for programs.

Activates nothing: no permit ever reaches this. The group runners take the prepared drivers over
when the grant comes; what could not be prepared is checked again by their activation.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.loops.start_order import wanted
from reconciler.loops.state import AgentState
from reconciler.ports.driver import Driver, ResourceError
from specs.resource import Resource

AGAIN_S = 0.5
"""What was found out is worth something for a second; see `binding`."""

KEEP_S = 2.0
"""Between the grant, from which on a group is not on its way any more, and its first start."""


@dataclass(slots=True)
class _Prepared:
    stage: str
    begun_at: float
    wanted_at: float
    drivers: dict[str, tuple[Resource, Driver]] = field(default_factory=dict)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)


class Preparation:
    def __init__(self, state: AgentState, make_driver: Callable[[Resource], Driver]) -> None:
        self._state, self._make = state, make_driver
        self._groups: dict[str, _Prepared] = {}

    def driver(self, resource: Resource) -> Driver:
        """A prepared driver of exactly this resource, or a new one."""
        prepared = self._groups.get(resource.spec.group)
        found = prepared.drivers.pop(resource.metadata.name, None) if prepared else None
        return found[1] if found and found[0] == resource else self._make(resource)

    def begin(self, groups: Mapping[str, str]) -> None:
        """Called at each decision with the groups that may come, and their stages."""
        now = self._state.clock.now()
        for group, stage in groups.items():
            prepared = self._groups.get(group)
            if prepared is None:
                prepared = self._groups[group] = _Prepared("", float("-inf"), now)
            prepared.wanted_at = now
            if prepared.stage != stage or now - prepared.begun_at >= AGAIN_S:
                prepared.stage, prepared.begun_at = stage, now
                self._start(group, prepared)
        for group in [g for g, p in self._groups.items() if now - p.wanted_at > KEEP_S]:
            self._cancel(self._groups.pop(group))

    def close(self) -> None:
        """End what is under way."""
        for prepared in self._groups.values():
            self._cancel(prepared)
        self._groups.clear()

    def _start(self, group: str, prepared: _Prepared) -> None:
        specs = self._state.specs
        resources = wanted(specs.resources_of(group), ()) if specs else {}
        self._cancel(prepared)
        for name, resource in resources.items():
            held = prepared.drivers.get(name)
            if held is None or held[0] != resource:
                held = prepared.drivers[name] = (resource, self._make(resource))
            task = asyncio.create_task(_prepare(held[1]), name=f"prepare {name}")
            prepared.tasks.add(task)
            task.add_done_callback(prepared.tasks.discard)

    def _cancel(self, prepared: _Prepared) -> None:
        for task in tuple(prepared.tasks):
            task.cancel()


async def _prepare(driver: Driver) -> None:
    try:
        await driver.prepare()
    except ResourceError:
        return  # the old owner may still hold it; the activation checks again, and reports
