"""What gets ready before the grant goes to the group runner; nothing of it is activated."""

import asyncio
from typing import Any

from reconciler.loops.preparation import AGAIN_S, KEEP_S, Preparation
from reconciler.ports.driver import Driver, ResourceError
from specs.resource import Resource
from tests.decide.build import Scene
from tests.loops.test_group_runner import GatedDriver


class Preparable(GatedDriver):
    """Counts its preparations; they fail while `fails`."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared, self.fails = 0, False

    async def prepare(self) -> None:
        self.prepared += 1
        if self.fails:
            raise ResourceError("the old owner holds it")


class State:
    """What a preparation needs of the agent's state, with a clock that is set by hand."""

    def __init__(self) -> None:
        scene = Scene("n2").group("web").resource("ip").resource("app")
        self.specs = scene.snapshot().specs
        self.time = 0.0

    @property
    def clock(self) -> "State":
        return self

    def now(self) -> float:
        return self.time


def parts() -> tuple[State, Preparation, dict[str, list[Preparable]]]:
    state: Any = State()
    made: dict[str, list[Preparable]] = {}

    def make(resource: Resource) -> Driver:
        made.setdefault(resource.metadata.name, []).append(Preparable())
        return made[resource.metadata.name][-1]

    return state, Preparation(state, make), made


async def begin(preparation: Preparation, groups: dict[str, str]) -> None:
    preparation.begin(groups)
    await asyncio.sleep(0)


async def test_the_runner_gets_the_prepared_driver_once() -> None:
    state, preparation, made = parts()
    await begin(preparation, {"web": "doubted"})
    resource = state.specs.resources["ip"]
    assert preparation.driver(resource) is made["ip"][0]
    assert made["ip"][0].prepared == 1
    assert not made["ip"][0].is_starting
    assert preparation.driver(resource) is not made["ip"][0]


async def test_it_survives_the_moment_between_grant_and_start() -> None:
    state, preparation, made = parts()
    await begin(preparation, {"web": "released"})
    state.time = KEEP_S / 2
    await begin(preparation, {})
    assert preparation.driver(state.specs.resources["app"]) is made["app"][0]


async def test_what_did_not_come_is_forgotten() -> None:
    state, preparation, made = parts()
    await begin(preparation, {"web": "doubted"})
    state.time = KEEP_S * 2
    await begin(preparation, {})
    assert preparation.driver(state.specs.resources["app"]) is not made["app"][0]


async def test_the_next_stage_prepares_at_once_the_same_stage_after_a_while() -> None:
    state, preparation, made = parts()
    for stage, later, expected in (
        ("releasing", 0.0, 1),
        ("releasing", AGAIN_S / 2, 1),
        ("released", 0.01, 2),
        ("released", AGAIN_S, 3),
    ):
        state.time += later
        await begin(preparation, {"web": stage})
        assert made["ip"][0].prepared == expected


async def test_what_cannot_be_prepared_is_left_to_the_activation() -> None:
    state, preparation, made = parts()
    await begin(preparation, {"web": "releasing"})
    made["ip"][0].fails = True
    await begin(preparation, {"web": "released"})
    await asyncio.sleep(0)
    assert preparation.driver(state.specs.resources["ip"]) is made["ip"][0]


async def test_a_resource_that_was_changed_gets_a_new_driver() -> None:
    state, preparation, made = parts()
    await begin(preparation, {"web": "doubted"})
    old = state.specs.resources["ip"]
    spec = old.spec.model_copy(update={"depends_on": ("app",)})
    preparation.driver(old.model_copy(update={"spec": spec}))
    assert len(made["ip"]) == 2
