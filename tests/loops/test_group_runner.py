"""What a group runner says of itself while it goes from one wish to the next."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from reconciler.adapters.clock import MonotonicClock
from reconciler.decide.actions import LocalWant, Want
from reconciler.decide.records import Phase
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.state import AgentState
from reconciler.ports.driver import Observation, Permit, ResourceError, ResourceState
from tests.decide.build import KEYS, Scene
from tests.resources.places import Recorder
from tests.simulation.ports import SimLocalState

DEADLINE_S = 10.0
RUN = LocalWant(Want.RUN, 1, "first start")
ISOLATED = LocalWant(Want.STOP, 1, "this server is isolated")


class GatedDriver:
    """Its start waits until `gate` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_starting, self.is_active = False, False

    async def observe(self) -> Observation:
        state = ResourceState.ACTIVE if self.is_active else ResourceState.INACTIVE
        return Observation(state)

    async def prepare(self) -> None:
        """Nothing to check."""

    async def activate(self, permit: Permit) -> None:
        self.is_starting = True
        await self.gate.wait()
        self.is_active, self.is_starting = True, False

    async def deactivate(self, epoch: int) -> None:
        self.is_active = False

    async def changed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is kept up."""


class Machine:
    def boot_id(self) -> str:
        return "n1-boot-1"


@asynccontextmanager
async def running(driver: GatedDriver) -> AsyncIterator[GroupRunner]:
    """A runner of group web, which has one resource."""
    clock = MonotonicClock()
    state = AgentState(
        me="n1",
        keys=KEYS,
        clock=clock,
        store=None,
        peers=None,
        machine=Machine(),
        events=Recorder(),
        local_state=SimLocalState({}, {}),
        rng=random.Random(1),
    )
    state.specs = Scene().resource("address").snapshot().specs
    runner = GroupRunner("web", state, lambda _resource: driver)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is the runner's own state
            await asyncio.sleep(0.001)


async def test_a_group_that_starts_again_at_the_same_epoch_is_not_called_stopped() -> None:
    """An isolated server stops its groups and starts them again when it is back. What may run must
    not be called offline meanwhile: nobody would stop it if the group has a new owner by then."""
    driver = GatedDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.phase is Phase.ONLINE)
        runner.want(ISOLATED)
        await until(lambda: runner.phase is Phase.OFFLINE)
        driver.gate.clear()
        runner.want(RUN)
        await until(lambda: driver.is_starting)
        assert runner.phase is Phase.STARTING
        driver.gate.set()
        await until(lambda: runner.phase is Phase.ONLINE)


async def test_a_resource_that_an_operator_stopped_is_reported_as_inactive() -> None:
    """Whoever waits for the stop of one resource waits for this report."""
    driver = GatedDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.phase is Phase.ONLINE)
        runner.want(replace(RUN, stopped_resources=("address",)))
        await until(lambda: [r.state for r in runner.status().resources] == ["inactive"])
        assert not driver.is_active
        assert runner.phase is Phase.ONLINE
        runner.want(RUN)
        await until(lambda: [r.state for r in runner.status().resources] == ["active"])


async def test_a_resource_that_was_stopped_before_the_group_came_here_is_seen_inactive() -> None:
    driver = GatedDriver()
    async with running(driver) as runner:
        runner.want(replace(RUN, stopped_resources=("address",)))
        await until(lambda: runner.phase is Phase.ONLINE)
        assert [r.state for r in runner.status().resources] == ["inactive"]


class BlindDriver(GatedDriver):
    """While `blind` is set nothing can be observed or started: no descriptors are left."""

    def __init__(self) -> None:
        super().__init__()
        self.blind, self.looked = False, 0
        self.change = asyncio.Event()

    async def observe(self) -> Observation:
        if not self.blind:
            return await super().observe()
        self.looked += 1
        return Observation(ResourceState.UNKNOWN, "Too many open files")

    async def activate(self, permit: Permit) -> None:
        if self.blind:
            raise ResourceError("Too many open files", retry=False)
        await super().activate(permit)

    async def changed(self) -> None:
        await self.change.wait()


async def test_what_cannot_be_looked_at_is_not_started_again_when_specs_change() -> None:
    """Descriptors were used up, somebody applied something else: a healthy group failed over."""
    driver = BlindDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.phase is Phase.ONLINE)
        driver.blind = True
        driver.change.set()
        await until(lambda: driver.looked > 0)
        applied = replace(runner._state.specs, revision=runner._revision + 1)
        runner._state.specs = applied
        runner.want(RUN)
        before = driver.looked
        await until(lambda: driver.looked > before + 1)
        assert not runner.failure
        assert [r.state for r in runner.status().resources] == ["unknown"]
        driver.is_active = driver.blind = False
        await until(lambda: driver.is_active)  # it is seen to be gone, and repaired


async def test_a_monitors_restart_stops_and_starts_within_the_groups_limit() -> None:
    driver = GatedDriver()
    async with running(driver) as runner:
        assert not runner.restart(None, "too early")
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        limit = runner.restarts_left
        for left in reversed(range(limit)):
            settled_at = runner.settled_at
            assert runner.restart(None, "monitor m: it hangs")
            assert not runner.is_settled
            assert not runner.restart(None, "while one is under way")
            await until(lambda at=settled_at: runner.is_settled and runner.settled_at > at)
            assert runner.restarts_left == left
        assert not runner.restart(None, "once too often")
        assert runner.is_settled
        assert driver.is_active


async def test_a_monitor_can_make_an_epoch_fail() -> None:
    async with running(GatedDriver()) as runner:
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        assert runner.fail("monitor m: no answer")
        assert (runner.phase, runner.failure) == (Phase.FAILED, "monitor m: no answer")
        assert not runner.fail("again")


async def test_a_grant_that_is_quicker_than_the_specs_is_not_online() -> None:
    """Without its specs the group has nothing to start, which must not look like all is up."""
    driver = GatedDriver()
    async with running(driver) as runner:
        known = runner._state.specs
        assert known is not None
        runner._state.specs = replace(known, groups={}, resources={})
        runner.want(RUN)
        events = runner._state.events.events
        await until(lambda: any(name == "activation_waits" for name, _ in events))
        assert runner.phase is not Phase.ONLINE
        runner._state.specs = known
        await until(lambda: runner.phase is Phase.ONLINE)
        assert driver.is_active


class DeafDriver(GatedDriver):
    """The kernel's notices cannot be had."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def changed(self) -> None:
        self.asked += 1
        raise ResourceError("no notices")


async def test_a_resource_that_cannot_be_watched_is_looked_at_without_a_rush() -> None:
    driver = DeafDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: driver.asked > 0)
        await asyncio.sleep(0.2)
        assert driver.asked == 1
        assert runner.phase is Phase.ONLINE


async def test_what_has_no_order_any_more_is_stopped_all_the_same() -> None:
    """One resource still runs by its old spec, another by its new one: a circle."""
    driver = GatedDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.phase is Phase.ONLINE)
        (slot,) = runner.slots.values()
        spec = slot.resource.spec.model_copy(update={"depends_on": ("address",)})
        slot.resource = slot.resource.model_copy(update={"spec": spec})
        runner.want(ISOLATED)
        await until(lambda: runner.phase is Phase.OFFLINE)
        assert not driver.is_active


# -- drift ---------------------------------------------------------------------------------------


class DriftingDriver(GatedDriver):
    """Somebody takes it away by hand (or it fails by itself), and the kernel tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = ResourceState.INACTIVE
        self.starts, self.closed = 0, 0
        self.notice = asyncio.Event()

    async def observe(self) -> Observation:
        if self.is_active:
            return Observation(ResourceState.ACTIVE)
        return Observation(self.lost, "gone")

    async def activate(self, permit: Permit) -> None:
        self.starts += not self.is_active
        await super().activate(permit)

    async def changed(self) -> None:
        await self.notice.wait()
        self.notice.clear()

    async def close(self) -> None:
        self.closed += 1

    def drift(self, *, there: bool = False) -> None:
        self.is_active = there
        self.notice.set()


def with_policy(runner: GroupRunner, policy: str) -> None:
    specs = runner._state.specs
    assert specs is not None
    address = specs.resources["address"]
    spec = address.spec.model_copy(update={"drift_policy": policy})
    resources = {"address": address.model_copy(update={"spec": spec})}
    runner._state.specs = replace(specs, resources=resources, revision=specs.revision + 1)


def told(runner: GroupRunner, name: str) -> list[dict[str, object]]:
    return [fields for event, fields in runner._state.events.events if event == name]


async def test_a_repair_tells_what_was_found_what_was_expected_and_how_long_it_took() -> None:
    driver = DriftingDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        driver.drift()
        await until(lambda: bool(told(runner, "resource_drift_ended")))
        (found,) = told(runner, "resource_drifted")
        assert (found["found"], found["expected"], found["policy"], found["epoch"]) == (
            *("inactive", "active", "correct"),
            1,
        )
        (ended,) = told(runner, "resource_drift_ended")
        assert ended["repaired"] is True
        assert float(str(ended["duration_ms"])) >= 0
        assert driver.starts == 2


async def test_reported_drift_is_shown_and_left_until_somebody_puts_it_right() -> None:
    driver = DriftingDriver()
    async with running(driver) as runner:
        with_policy(runner, "report")
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        driver.drift()
        await until(lambda: bool(runner.status().reasons))
        assert runner.status().reasons == ("address is inactive: gone (driftPolicy: report)",)
        assert (runner.phase, [r.state for r in runner.status().resources]) == (
            Phase.ONLINE,
            ["inactive"],
        )
        driver.drift()  # told once, whatever the kernel says
        await until(lambda: not driver.notice.is_set())
        assert len(told(runner, "resource_drifted")) == 1
        driver.drift(there=True)
        await until(lambda: not runner.status().reasons)
        assert told(runner, "resource_drift_ended")[0]["repaired"] is False
        assert driver.starts == 1


async def test_what_fails_by_itself_is_restarted_whatever_the_policy() -> None:
    driver = DriftingDriver()
    driver.lost = ResourceState.FAILED
    async with running(driver) as runner:
        with_policy(runner, "report")
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        driver.drift()
        await until(lambda: driver.starts == 2)
        await until(lambda: runner.is_settled)


async def test_a_change_that_disturbs_nothing_does_not_restart_the_resource() -> None:
    driver = DriftingDriver()
    async with running(driver) as runner:
        runner.want(RUN)
        await until(lambda: runner.is_settled)
        with_policy(runner, "report")
        runner.want(RUN)
        await until(lambda: driver.closed == 1)
        await until(lambda: runner.is_settled and runner.slots["address"].state == "active")
        assert driver.starts == 1
        assert not told(runner, "resource_stopped")
        assert runner.slots["address"].resource.spec.drift_policy == "report"
