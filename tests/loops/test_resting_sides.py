"""A disk that nobody has is read once for each giving of the roles, and only to settle a record."""

from dataclasses import replace

import pytest

from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import StoreLife
from reconciler.decide.snapshot import Stored
from reconciler.loops.mirror_care import MirrorCare
from reconciler.loops.resting_sides import AGAIN_S, NOTHING, RestingSides
from reconciler.mirror.header import Header
from reconciler.ports.disks import RestingMirror
from reconciler.ports.host import HostError
from tests.decide.build import Scene
from tests.loops.test_act import World
from tests.monitors.test_mirrors import HYBRID
from tests.resources.memory_disks import MemoryMirrors

FLOOR = 1 << 48
MIRROR = RestingMirror(Header("data", 16 << 20, "g2", history=("g1",), fresh=False), 65536)
ROLES = (FLOOR, FLOOR + 1)


class Disk:
    """What is on it, and how often it was read."""

    def __init__(self) -> None:
        self.mirror: RestingMirror | None = MIRROR
        self.reads: list[str] = []

    async def read(self, disk: str) -> RestingMirror:
        self.reads.append(disk)
        if self.mirror is None:
            raise HostError("it does not answer")
        return self.mirror


class Clock:
    """As far as it is used here."""

    time = 100.0

    def now(self) -> float:
        return self.time


def scene(*, restored: bool = True) -> Scene:
    """n2 looks; n3 follows on the other side, nobody has the disk of `left`."""
    made = Scene(me="n2", servers=("n1", "n2", "n3", "n4")).server_group("left", "n1", "n2")
    made.server_group("right", "n3", "n4").group("db", serverGroups=["left", "right"])
    made.resources["data"] = HYBRID
    made.copies("left", "right").own(None, "db", FLOOR).own("n3", "db-standby", FLOOR + 1)
    made.store_life = Stored(StoreLife(store_id="", generation=int(restored)), 50, made.now)
    return made


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sides(disk: Disk, clock: Clock) -> RestingSides:
    return RestingSides(clock, disk.read)  # type: ignore[arg-type]


async def test_it_is_read_once_until_a_role_is_given(sides: RestingSides, disk: Disk) -> None:
    for _ in range(3):
        seen = await sides.look(scene().snapshot(), "data", engine=False)
        assert (seen.roles, seen.mirror) == (ROLES, MIRROR)
    assert disk.reads == ["/srv/l"]
    later = scene().own("n3", "db-standby", FLOOR + 3).snapshot()
    assert (await sides.look(later, "data", engine=False)).roles == (FLOOR, FLOOR + 3)
    assert len(disk.reads) == 2


async def test_nothing_is_read_while_somebody_may_have_it(sides: RestingSides, disk: Disk) -> None:
    for made in (
        scene().own("n1", "db-standby", FLOOR + 3),
        scene().own("n1", "db", FLOOR + 2),
        scene(restored=False),
    ):
        assert await sides.look(made.snapshot(), "data", engine=False) == NOTHING
    assert not disk.reads


async def test_an_engine_speaks_for_itself(sides: RestingSides, disk: Disk) -> None:
    seen = await sides.look(scene().snapshot(), "data", engine=True)
    assert (seen.roles, seen.mirror, disk.reads) == (ROLES, None, [])


async def test_what_cannot_be_read_is_tried_again_later(
    sides: RestingSides, disk: Disk, clock: Clock
) -> None:
    disk.mirror = None
    for _ in range(2):
        assert (await sides.look(scene().snapshot(), "data", engine=False)).problem
    assert len(disk.reads) == 1
    disk.mirror = MIRROR
    clock.time += AGAIN_S
    assert (await sides.look(scene().snapshot(), "data", engine=False)).mirror == MIRROR


async def test_the_mirror_of_another_resource_is_none(sides: RestingSides, disk: Disk) -> None:
    disk.mirror = replace(MIRROR, header=replace(MIRROR.header, resource="other"))
    seen = await sides.look(scene().snapshot(), "data", engine=False)
    assert seen.mirror is None
    assert "/srv/l belongs to mirror other" in seen.problem


async def test_the_status_tells_what_was_read(disk: Disk) -> None:
    mirrors, state, snapshot = MemoryMirrors(), World().agent("n2"), scene().snapshot()
    care = MirrorCare(state, mirrors, lambda: None, disk.read)
    await care._look(mirrors, snapshot, ("data",))
    told: MirrorStatus = state.mirror_sides["data"]
    assert (told.engine, told.at_rest, told.roles) == (False, True, ROLES)
    assert (told.generation, told.ancestors, told.to_copy) == ("g2", ("g1",), 65536)
