"""Stories about monitors: each step once, none without end, none into an operator's hands."""

import asyncio
from dataclasses import replace

from reconciler.decide.records import MonitorState, MonitorStatus, OperationKind
from specs.document import Metadata
from specs.monitor import Monitor, MonitorSpec
from tests.simulation import chaos
from tests.simulation.cluster import SimCluster
from tests.simulation.faults import draw
from tests.simulation.play import never, until
from tests.simulation.scenarios import (
    all_up,
    ask,
    converged,
    expect,
    ownership,
    runs_on,
    verdict,
)
from tests.simulation.world import Violation

NAME = "a-answers"


def watch(cluster: SimCluster, **changes: object) -> None:
    """A monitor of group a: a probe a second, two in a row are a fault."""
    spec = MonitorSpec.model_validate(
        {
            "type": "simulated",
            "target": "group/a",
            "interval": "1s",
            "timeout": "500ms",
            "recovery": {"restarts": 2, "failovers": 1},
            **changes,
        }
    )
    monitors = {NAME: Monitor(metadata=Metadata(name=NAME), spec=spec)}
    revision = cluster.specs.revision + 1
    cluster.specs = replace(cluster.specs, revision=revision, monitors=monitors)


def status(cluster: SimCluster, server: str) -> MonitorStatus | None:
    item = cluster.world.state.get(cluster.keys.monitor_status(server, NAME))
    return MonitorStatus.from_bytes(item.value) if item else None


def is_in(cluster: SimCluster, server: str, state: MonitorState) -> bool:
    found = status(cluster, server)
    return found is not None and found.state is state


def make_sick(cluster: SimCluster, *servers: str) -> None:
    cluster.world.sick.update((server, NAME) for server in servers)


def make_well(cluster: SimCluster, *servers: str) -> None:
    cluster.world.sick.difference_update((server, NAME) for server in servers)


def happened(cluster: SimCluster, event: str, *words: str) -> int:
    lines = (line for line in cluster.world.trace if f" {event} " in f"{line} ")
    return sum(all(word in line for word in words) for line in lines)


def steps(cluster: SimCluster, step: str, server: str = "") -> int:
    return happened(cluster, "recovery_started", f"step={step}", server)


async def sick_on_one_server(cluster: SimCluster) -> None:
    """Two restarts in place, then the group goes where it is healthy, and stays there."""
    await all_up(cluster)
    watch(cluster)
    await until(cluster, lambda: is_in(cluster, "n1", MonitorState.HEALTHY), "healthy on n1")
    expect(not is_in(cluster, "n2", MonitorState.HEALTHY), "only the owner probes")
    make_sick(cluster, "n1")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2")
    expect(steps(cluster, "restart") == 2, "two restarts in place")
    expect(steps(cluster, "failover") == 1, "one failover")
    expect(happened(cluster, "fence_requested") == 0, "nobody is fenced")
    await until(cluster, lambda: is_in(cluster, "n2", MonitorState.HEALTHY), "healthy on n2")
    await asyncio.sleep(20.0)
    expect(runs_on(cluster, "n2"), "it stays")
    expect(ownership(cluster).epoch == 2, "one failover")


async def sick_everywhere(cluster: SimCluster) -> None:
    """Bounded work: every server has its turn, then the group stays where it is, or is parked."""
    await all_up(cluster)
    watch(cluster)
    make_sick(cluster, *cluster.names)
    await asyncio.sleep(180.0)
    for name in cluster.names:
        expect(steps(cluster, "restart", name) <= 2, f"restarts on {name}")
        expect(steps(cluster, "failover", name) <= 1, f"failovers from {name}")
    before = len([line for line in cluster.world.trace if "recovery_started" in line])
    await asyncio.sleep(120.0)
    after = len([line for line in cluster.world.trace if "recovery_started" in line])
    expect(before == after, "nothing more is tried")


async def flapping(cluster: SimCluster) -> None:
    """Healthy just long enough to count from zero, then sick again, for ever: the group's own
    limits on restarts and failovers hold all the same."""
    await all_up(cluster)
    watch(cluster, resetAfter=1)
    end = cluster.loop.now + 600.0
    while cluster.loop.now < end:
        make_sick(cluster, *cluster.names)
        await asyncio.sleep(3.0)
        make_well(cluster, *cluster.names)
        await asyncio.sleep(3.0)
        cluster.check()
    group = cluster.specs.groups["a"].spec
    per_server = group.restarts.max
    restarts = happened(cluster, "resources_restarted")
    expect(restarts <= per_server * (ownership(cluster).epoch + 1), f"{restarts} restarts")
    expect(ownership(cluster).epoch <= len(cluster.names) + 1, "no endless failover")


async def final_action(cluster: SimCluster) -> None:
    """After everything else the group is stopped, visibly, and an operator can start it again."""
    await all_up(cluster)
    watch(cluster, recovery={"restarts": 1, "failovers": 0, "finalAction": "stop-group"})
    make_sick(cluster, "n1")
    await until(cluster, lambda: ownership(cluster).owner is None, "a is stopped")
    expect(steps(cluster, "restart") == 1, "one restart before")
    found = verdict(cluster)
    expect(found is not None and found.phase == "offline", "it says offline")
    make_well(cluster, "n1")
    await ask(cluster, OperationKind.START, "group/a")
    await until(cluster, lambda: converged(cluster), "it runs again")


async def reboot(cluster: SimCluster) -> None:
    """The server resets itself once; the group runs on, and a service that stays sick where it
    lands makes no second reboot of the same server."""
    await all_up(cluster)
    watch(cluster, recovery={"restarts": 0, "failovers": 0, "finalAction": "reboot"})
    make_sick(cluster, "n1")
    await until(cluster, lambda: happened(cluster, "reset", "server=n1") == 1, "n1 resets itself")
    await asyncio.sleep(60.0)
    expect(converged(cluster), "all runs again")
    expect(happened(cluster, "reset") == 1, "one reboot")


async def recovery_waits_for_the_operator(cluster: SimCluster) -> None:
    """While a move is under way a faulty monitor does nothing to the group."""
    await all_up(cluster)
    watch(cluster, timing="always", servers=["n1"], recovery={"restarts": 1, "failovers": 1})
    await until(cluster, lambda: is_in(cluster, "n1", MonitorState.HEALTHY), "healthy on n1")
    cluster.world.hosts["n1"].slow_drivers_s = 20.0
    cluster.operate(OperationKind.MOVE, "group/a", "n2")
    make_sick(cluster, "n1")
    await until(cluster, lambda: is_in(cluster, "n1", MonitorState.FAULTY), "faulty on n1")
    await until(cluster, lambda: runs_on(cluster, "n2"), "the move ends")
    found = status(cluster, "n1")
    expect(found is not None and bool(found.waiting), "the recovery says why it waits")
    moved = lambda: ownership(cluster).owner != "n2"  # noqa: E731
    await never(cluster, moved, "a step against a group that left", for_s=20.0)
    expect(steps(cluster, "restart") + steps(cluster, "failover") == 0, "no step at all")


class AgentDies:
    """The agent dies after this many steps were begun; its successor counts on."""

    def __init__(self, after: int) -> None:
        self.after = after

    async def __call__(self, cluster: SimCluster) -> None:
        await all_up(cluster)
        watch(cluster, recovery={"restarts": 3, "failovers": 0})
        make_sick(cluster, "n1")
        count = lambda: steps(cluster, "restart")  # noqa: E731
        await until(cluster, lambda: count() >= self.after, "a restart")
        cluster.crash_agent("n1")
        await until(cluster, lambda: is_in(cluster, "n1", MonitorState.PARKED), "parked")
        if count() > 3:
            raise Violation(f"{count()} restarts, 3 are allowed")


async def chaos_around(cluster: SimCluster) -> None:
    """Every fault of the simulator, and a service that is sick now and then, here and there."""
    loop, rng = cluster.loop, cluster.loop.rng
    watch(cluster)
    at = 10.0
    while (at := at + rng.random() * 10.0) < chaos.CHAOS_S:
        server = rng.choice(cluster.names)
        loop.call_later(at, make_sick, cluster, server)
        loop.call_later(at + rng.choice((1.5, 5.0, 20.0)), make_well, cluster, server)
    loop.call_later(chaos.CHAOS_S, make_well, cluster, *cluster.names)
    faults = draw(rng.getrandbits(32), cluster.names, cluster.groups)
    await chaos.story(cluster, faults)


async def lost_store(cluster: SimCluster) -> None:
    """Nothing is restarted while nobody could give the right to start it again."""
    await all_up(cluster)
    watch(cluster)
    await until(cluster, lambda: is_in(cluster, "n1", MonitorState.HEALTHY), "healthy on n1")
    cluster.world.store_stall_until = cluster.loop.now + 40.0
    await asyncio.sleep(12.0)
    make_sick(cluster, "n1")
    gone = lambda: "a-0" not in cluster.world.hosts["n1"].active  # noqa: E731
    await never(cluster, gone, "a stop without the store", for_s=20.0)
    make_well(cluster, "n1")
    await until(cluster, lambda: converged(cluster), "all runs")
