"""A side that follows and whose disk failed is tried again, once in a while."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from reconciler.mirror.header import Header
from reconciler.ports.mirrors import EngineView
from reconciler.resources import mirror_disk
from tests.resources.places import resource_from

DISK = resource_from("""
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec: {group: db, type: mirror-disk, file: /srv/d, size: 16MiB, mountPoint: /srv/data}
""")
SERVERS = {"n1": {"private": "10.0.0.1"}, "n2": {"private": "10.0.0.2"}}


class Over(Exception):
    """The time is over."""


class World:
    """One engine, a clock that sleeps on, and what was done."""

    def __init__(self, *, serves: bool = False) -> None:
        self.over, self.serves, self.time = "its disk failed: EIO", serves, 0.0
        self.end = 0.0
        self.done: list[tuple[str, float]] = []

    async def ensure(self, plan: object) -> None: ...

    async def view(self, name: str) -> EngineView:
        header = Header(name, 16 << 20, "g1")
        return EngineView(self.serves, 0, self.over, False, "", header, "boot", {})

    async def quit(self, name: str) -> None:
        self.done.append(("quit", self.time))

    def emit(self, name: str, **fields: object) -> None:
        self.done.append((str(fields["reason"]), self.time))

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.end:
            raise Over


async def _followed(world: World, seconds: float) -> list[tuple[str, float]]:
    place: Any = SimpleNamespace(
        name="data",
        server="n2",
        servers=lambda: SERVERS,
        clock=world,
        events=world,
        host=SimpleNamespace(mirrors=world),
    )
    spec: Any = DISK.spec.model_copy(update={"engine": "drbd"})  # nothing grows here
    world.end = seconds
    with suppress(Over):
        await spec.follow(place)
    return world.done


async def test_it_is_told_at_once_and_tried_anew_once_a_minute() -> None:
    done = await _followed(World(), mirror_disk.ANEW_S * 2.5)
    assert done[0] == ("its disk failed: EIO", 0.0)
    tried = [at for what, at in done if what == "quit"]
    assert len(tried) == 2
    assert tried[0] == mirror_disk.ANEW_S
    assert [what for what, _ in done].count("its disk failed: EIO") == 1


async def test_a_side_that_serves_is_left_to_its_group() -> None:
    assert await _followed(World(serves=True), mirror_disk.ANEW_S * 2) == []
