"""Every server that may run a group follows its mirrors; others do not, and removed ones end."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.loops.followers import Follow, FollowLoop
from specs.resource import Resource
from tests.resources.places import Recorder, resource_from

TEXT = """
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec: {group: db, type: mirror-disk, file: /srv/x, size: 16MiB, mountPoint: /srv/data}
"""


def _after(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    return asyncio.get_running_loop().call_later(seconds, act).cancel


class State:
    """As much of an agent's state as the loop sees."""

    def __init__(self, me: str) -> None:
        self.events = Recorder()
        self.clock = SimpleNamespace(after=_after)
        self.me = me
        self.wakes: list[asyncio.Event] = []
        self.resources: dict[str, Resource] = {"data": resource_from(TEXT)}
        self.revision = 1

    def new_wake(self) -> asyncio.Event:
        self.wakes.append(asyncio.Event())
        return self.wakes[-1]

    new_spec_wake = new_wake

    def change(self, resources: dict[str, Resource]) -> None:
        self.resources, self.revision = resources, self.revision + 1
        for wake in self.wakes:
            wake.set()

    def snapshot(self) -> Any:
        group = SimpleNamespace(spec=SimpleNamespace(servers=("n1", "n2"), server_groups=None))
        specs = SimpleNamespace(
            revision=self.revision, resources=self.resources, groups={"db": group}
        )
        return SimpleNamespace(specs=specs, me=self.me)

    @property
    def specs(self) -> Any:
        return self.snapshot().specs


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(("server", "follows"), [("n1", True), ("n2", True), ("n3", False)])
async def test_only_servers_of_the_group_follow(server: str, follows: bool) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def begin(resource: Resource) -> None:
        begun.append(resource.metadata.name)
        await asyncio.get_running_loop().create_future()

    async def end(resource: Resource) -> None:
        ended.append(resource.metadata.name)

    state = State(server)
    loop = FollowLoop(state, Follow(begin, end))  # type: ignore[arg-type]
    task = asyncio.create_task(loop.run())
    if follows:
        await _until(lambda: begun == ["data"])
        changed = resource_from(TEXT.replace("16MiB", "32MiB"))
        state.change({"data": changed})
        await _until(lambda: begun == ["data", "data"])
        assert ended == []
    state.change({})
    if follows:
        await _until(lambda: ended == ["data"])
    task.cancel()
    await asyncio.wait([task])
    assert bool(begun) is follows
