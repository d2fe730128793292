"""One seed: a cold start, 60 s of faults, then 60 s of calm in which the cluster must converge."""

import asyncio
import random
from contextvars import Context

from reconciler.decide.records import OperationKind
from tests.simulation import restoring
from tests.simulation.cluster import SimCluster
from tests.simulation.facts import Exclusive
from tests.simulation.faults import LAST_AT_S, Fault, carry_out, draw, end_all
from tests.simulation.play import Outcome, play
from tests.simulation.variants import variant_of
from tests.simulation.world import Violation

CHAOS_S = LAST_AT_S
CALM_S = 60.0
# Converged for this long is the end: longer than a session, a permit or an intent lasts.
STABLE_S = 15.0
PATIENCE_S = 24.0
LOOK_S = 0.25
SETTLE_S = 3.0
SIZES = (3, 5)


def size_of(seed: int) -> int:
    return random.Random(f"size-{seed}").choice(SIZES)


def run_seed(
    seed: int, size: int | None = None, schedule: tuple[Fault, ...] | None = None
) -> Outcome:
    """Same seed (and schedule), same trace. Without a schedule the seed draws its own."""
    servers = size or size_of(seed)

    async def told(cluster: SimCluster) -> None:
        faults = draw(seed, cluster.names, cluster.groups) if schedule is None else schedule
        await story(cluster, faults)

    return play(seed, told, servers, variant_of(seed))


async def story(cluster: SimCluster, faults: tuple[Fault, ...]) -> None:
    loop, variant = cluster.loop, cluster.world.variant
    if variant.restores:
        cluster.world.state.store_id = restoring.FIRST
    if variant.exclusive:
        cluster.world.emit(Exclusive(loop.now, cluster.groups))
    for name in cluster.names:
        loop.call_later(loop.rng.random() * 5, cluster.set_power, name, True)
    chaos = asyncio.create_task(_chaos(cluster, faults))
    end, stable_since = CHAOS_S + CALM_S, None
    while loop.now < end:
        await asyncio.sleep(LOOK_S)
        cluster.check()
        if not chaos.done():
            continue
        chaos.result()
        if not cluster.is_converged():
            stable_since = None
        elif stable_since is None:
            stable_since = loop.now
        elif loop.now - stable_since >= STABLE_S and cluster.is_at_rest():
            break
    cluster.world.emit(cluster.end())
    if cluster.world.violations:
        raise Violation(cluster.world.violations[0])


async def _chaos(cluster: SimCluster, faults: tuple[Fault, ...]) -> None:
    for fault in faults:
        await asyncio.sleep(max(0.0, fault.at - cluster.loop.now))
        carry_out(cluster, fault)
    await asyncio.sleep(max(0.0, CHAOS_S - cluster.loop.now))
    end_all(cluster)
    await asyncio.sleep(SETTLE_S)
    while cluster.unstored:  # noqa: ASYNC110 - wishes of before would undo the last ones
        await asyncio.sleep(LOOK_S)
    for group in cluster.groups:
        cluster.operate(OperationKind.CLEAR, f"group/{group}")
        cluster.operate(OperationKind.START, f"group/{group}")
    cluster.loop.call_later(PATIENCE_S, _look_again, cluster, context=Context())


def _look_again(cluster: SimCluster) -> None:
    """A person does, too: a late power command may have come after the calm began; no server could
    run a group when it was asked for, or a backup has forgotten the wish."""
    for name in cluster.names:
        cluster.set_power(name, True, "operator")
    for group in cluster.groups:
        if cluster.owner(group) is None:
            cluster.operate(OperationKind.START, f"group/{group}")
