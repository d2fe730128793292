"""The resources of one group that run, or may run, on this server; the group's runner keeps one.

It knows what is there and in which order things go. When they go is the runner's business.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from reconciler.loops.resource_slot import ResourceSlot
from reconciler.loops.start_order import levels
from reconciler.loops.state import AgentState
from reconciler.ports.driver import Driver, ResourceError
from specs.resource import Resource

MakeDriver = Callable[[Resource], Driver]


class GroupSlots:
    """`slots`: what runs or may run; `rested`: what was seen stopped here."""

    def __init__(
        self,
        group: str,
        state: AgentState,
        make_driver: MakeDriver,
        adopted: Mapping[str, Resource],
    ) -> None:
        self._group, self._state, self._make = group, state, make_driver
        self.slots = {n: self._slot(resource) for n, resource in adopted.items()}
        self.rested: dict[str, ResourceSlot] = {}

    def _slot(self, resource: Resource) -> ResourceSlot:
        return ResourceSlot(resource, self._make(resource), self._state)

    def hold(self, resources: Mapping[str, Resource]) -> None:
        """From now on these may run."""
        for name, resource in resources.items():
            if name not in self.slots:
                self.slots[name] = self._slot(resource)
                self.rested.pop(name, None)

    def running(self) -> dict[str, Resource]:
        return {name: slot.resource for name, slot in self.slots.items()}

    def is_up(self, name: str) -> bool:
        slot = self.slots.get(name)
        return slot is not None and slot.is_up

    async def take_over(self, resources: Mapping[str, Resource], gone: list[str]) -> None:
        """What a change of its spec does not disturb runs on by the new one, as after a restart of
        the agent."""
        for name, slot in list(self.slots.items()):
            if name not in gone and slot.resource.spec != resources[name].spec:
                await slot.driver.close()
                new = self._slot(resources[name])
                new.restarts, new.start_ms, new.since_wall = (
                    slot.restarts,
                    slot.start_ms,
                    slot.since_wall,
                )
                self.slots[name] = new

    async def deactivate(self, names: list[str], epoch: int, retries: int) -> None:
        """In reverse start order; raises `ResourceError` when something does not go."""
        running = self.running()
        try:
            order = levels(running)
        except ResourceError:
            # Old and new specs side by side may form a circle: stopping must not wait for order.
            order = (tuple(sorted(running)),)
        for level in reversed(order):
            chosen = [name for name in level if name in names]
            results = await asyncio.gather(
                *(self.slots[name].stop(epoch, retries) for name in chosen), return_exceptions=True
            )
            for name, result in zip(chosen, results, strict=True):
                if result is None:
                    self.rested[name] = self.slots.pop(name)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    def remember(self, resources: Mapping[str, Resource], epoch: int) -> None:
        """For the agent after this one, durably. Raises `ResourceError`."""
        dumped: dict[str, Any] = {
            name: resource.model_dump(mode="json", by_alias=True)
            for name, resource in resources.items()
        }
        try:
            policy = self._state.store_loss[self._group] = self._state.policy_of(self._group)
            started = {"epoch": epoch, "resources": dumped, "on_store_loss": policy}
            self._state.local_state.save_started(self._group, started)
        except OSError as error:
            raise ResourceError(f"what is started cannot be remembered: {error}") from error

    def shown(self, known: Mapping[str, Resource]) -> list[ResourceSlot]:
        """All that runs or may run, and what rests and the specs still name; by name."""
        rested = {name: slot for name, slot in self.rested.items() if name in known}
        return [slot for _, slot in sorted({**rested, **self.slots}.items())]

    async def close(self) -> None:
        """End upkeep; nothing is stopped."""
        for slot in self.slots.values():
            await slot.driver.close()
