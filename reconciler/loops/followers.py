"""Runs `follow` of resources on every server that may run their group: the half of a type that does
not wait for ownership, such as the standby side of a mirror."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reconciler.decide.circumstances import listed_servers
from reconciler.decide.snapshot import Snapshot
from reconciler.loops.act import wait_for
from reconciler.loops.state import AgentState
from reconciler.plugin import ResourceType
from specs.resource import Resource

LOOK_EVERY_S = 5.0
UNFOLLOW_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Follow:
    """Both halves of one type's hook, bound to this server by the agent."""

    begin: Callable[[Resource], Awaitable[None]]
    end: Callable[[Resource], Awaitable[None]]


async def _nothing(resource: Resource) -> None:
    """For places without drivers."""


NO_FOLLOW = Follow(_nothing, _nothing)


class FollowLoop:
    """One task for each resource whose type follows; a changed spec starts it anew."""

    def __init__(self, state: AgentState, follow: Follow) -> None:
        self._state, self._follow = state, follow
        self._wake, self._new_specs = state.new_wake(), state.new_spec_wake()
        self._tasks: dict[str, tuple[Resource, asyncio.Task[None]]] = {}
        self._revision: int | None = None

    async def run(self) -> None:
        """For ever. A follower that fails is reported and started again at the next look."""
        try:
            while True:
                self._wake.clear()
                self._new_specs.clear()
                # Nearly nothing that wakes this concerns it.
                snapshot = self._state.snapshot() if self._is_due() else None
                if snapshot is not None:
                    self._revision = snapshot.specs.revision
                    await self._compare(self._wanted(snapshot))
                wake = self._wake if self._tasks else self._new_specs
                await wait_for(self._state, wake, LOOK_EVERY_S)
        finally:
            for _, task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*(t for _, t in self._tasks.values()), return_exceptions=True)

    def _is_due(self) -> bool:
        specs = self._state.specs
        changed = specs is not None and specs.revision != self._revision
        return changed or any(task.done() for _, task in self._tasks.values())

    async def _compare(self, wanted: dict[str, Resource]) -> None:
        for name, (resource, task) in list(self._tasks.items()):
            if task.done():
                self._report(name, task)
            if task.done() or name not in wanted or wanted[name].spec != resource.spec:
                task.cancel()
                await asyncio.wait({task})
                del self._tasks[name]
                if name not in wanted:
                    await self._unfollow(resource)
        for name, resource in wanted.items():
            if name not in self._tasks:
                follower = asyncio.ensure_future(self._follow.begin(resource))
                self._tasks[name] = (resource, asyncio.ensure_future(_until_done(follower)))

    def _wanted(self, snapshot: Snapshot) -> dict[str, Resource]:
        return {
            name: resource
            for name, resource in snapshot.specs.resources.items()
            if isinstance(resource.spec, ResourceType)
            and resource.spec.follows
            and snapshot.me in listed_servers(snapshot, resource.spec.group)
        }

    async def _unfollow(self, resource: Resource) -> None:
        name = resource.metadata.name
        try:
            async with asyncio.timeout(UNFOLLOW_TIMEOUT_S):
                await self._follow.end(resource)
        except Exception as error:  # noqa: BLE001 - whatever a type raises must not end the agent
            self._state.events.emit("follower_failed", resource=name, reason=str(error))

    def _report(self, name: str, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._state.events.emit("follower_failed", resource=name, reason=str(error))


async def _until_done(follower: "asyncio.Future[None]") -> None:
    await follower
