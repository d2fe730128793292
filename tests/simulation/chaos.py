"""One seed: a cold start, chaos for a while, then calm in which the cluster must converge."""

import asyncio

from reconciler.decide.records import OperationKind
from tests.simulation.checkers import why_not_converged
from tests.simulation.cluster import RESOURCES_PER_GROUP, SimCluster
from tests.simulation.play import Outcome, play
from tests.simulation.world import NETWORKS, Violation

CHAOS_S = 60.0
CALM_S = 90.0
# Converged for this long is the end: longer than a session, a permit or an intent lasts.
STABLE_S = 15.0


def run_seed(seed: int, size: int = 3) -> Outcome:
    """Same seed, same trace."""
    return play(seed, story, size)


async def story(cluster: SimCluster) -> None:
    loop = cluster.loop
    for name in cluster.names:
        loop.call_later(loop.rng.random() * 5, cluster.set_power, name, True)
    chaos = asyncio.create_task(_chaos(cluster))
    end, stable_since = CHAOS_S + CALM_S, None
    while loop.now < end:
        await asyncio.sleep(0.25)
        cluster.check()
        if not chaos.done():
            continue
        chaos.result()
        if _obstacle(cluster) is not None:
            stable_since = None
        elif stable_since is None:
            stable_since = loop.now
        elif loop.now - stable_since >= STABLE_S:
            return
    obstacle = _obstacle(cluster)
    if obstacle is not None:
        raise Violation(obstacle)


def _obstacle(cluster: SimCluster) -> str | None:
    return why_not_converged(cluster.world, cluster.keys, cluster.groups, RESOURCES_PER_GROUP)


async def _chaos(cluster: SimCluster) -> None:
    loop, rng, world = cluster.loop, cluster.loop.rng, cluster.world
    await asyncio.sleep(10 + rng.random() * 5)
    world.store_trouble = rng.choice((0.0, 0.02, 0.1))
    while loop.now < CHAOS_S:
        rng.choice(FAULTS)(cluster)
        await asyncio.sleep(rng.random() * rng.choice((0.3, 2.0, 10.0)))
    world.store_trouble = 0.0
    for link in sorted(world.broken):
        cluster.heal(*link)
    for name in cluster.names:
        cluster.unfreeze(name)
        host = world.hosts[name]
        host.bmc, host.slow_drivers_s, host.failing_drivers = "ok", 0.0, False
        if not host.powered:
            cluster.set_power(name, True)
    for group in cluster.groups:
        cluster.operate(OperationKind.CLEAR, f"group/{group}")
        cluster.operate(OperationKind.START, f"group/{group}")


def _crash(cluster: SimCluster) -> None:
    name = cluster.loop.rng.choice(cluster.names)
    cluster.set_power(name, False)
    if cluster.loop.rng.random() < 0.7:
        delay = cluster.loop.rng.random() * 20
        cluster.loop.call_later(delay, cluster.set_power, name, True)


def _crash_agent(cluster: SimCluster) -> None:
    cluster.crash_agent(cluster.loop.rng.choice(cluster.names))


def _freeze(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    name = rng.choice(cluster.names)
    cluster.freeze(name)
    cluster.loop.call_later(rng.choice((0.15, 0.5, 5.0, 15.0, 30.0)), cluster.unfreeze, name)


def _isolate(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    name = rng.choice(cluster.names)
    networks = rng.choice((NETWORKS, NETWORKS[:1], NETWORKS[1:]))
    directions = rng.choice(("both", "out", "in"))
    length = rng.choice((0.3, 2.0, 12.0, 30.0))
    for other in cluster.names:
        for network in networks if other != name else ():
            links = [(name, other, network), (other, name, network)]
            for link in links[:1] if directions == "out" else links[directions == "in" :]:
                cluster.cut(*link)
                cluster.loop.call_later(length * (0.5 + rng.random()), cluster.heal, *link)


def _cut_pair(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    a, b = rng.sample(cluster.names, 2)
    for network in NETWORKS:
        cluster.cut(a, b, network)
        cluster.cut(b, a, network)
        cluster.loop.call_later(rng.random() * 20, cluster.heal, a, b, network)
        cluster.loop.call_later(rng.random() * 20, cluster.heal, b, a, network)


def _bmc(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    cluster.world.hosts[rng.choice(cluster.names)].bmc = rng.choice(
        ("ok", "dead", "slow", "says-on")
    )


def _drivers(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    host = cluster.world.hosts[rng.choice(cluster.names)]
    host.slow_drivers_s = rng.choice((0.0, 1.0, 25.0))
    host.failing_drivers = rng.random() < 0.3


def _operate(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    kind = rng.choice(
        (OperationKind.MOVE, OperationKind.MOVE, OperationKind.STOP, OperationKind.START)
    )
    to = rng.choice((None, *cluster.names)) if kind is not OperationKind.STOP else None
    cluster.operate(kind, f"group/{rng.choice(cluster.groups)}", to)


def _store(cluster: SimCluster) -> None:
    rng = cluster.loop.rng
    cluster.world.store_stall_until = cluster.loop.now + rng.choice((0.5, 2.0, 8.0, 20.0))


def _compact(cluster: SimCluster) -> None:
    cluster.world.state.compact(max(1, cluster.world.state.revision - 1))


FAULTS = (
    _crash,
    _crash,
    _crash_agent,
    _crash_agent,
    _freeze,
    _freeze,
    _isolate,
    _isolate,
    _cut_pair,
    _bmc,
    _drivers,
    _operate,
    _operate,
    _store,
    _compact,
)
