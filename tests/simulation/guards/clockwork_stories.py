"""Stories about what a server does to itself, on clusters with more than networks and BMCs:
watchdogs, groups that must stop, mailboxes, exclusion, a restored store. See `stories`."""

import asyncio
from dataclasses import replace

from reconciler.decide.records import OperationKind, OperationPhase
from tests.simulation import restoring
from tests.simulation.cluster import SimCluster
from tests.simulation.ears import NETWORKS
from tests.simulation.facts import Exclusive
from tests.simulation.guards.stories import at_note, happened, others
from tests.simulation.play import never, until
from tests.simulation.scenarios import (
    all_up,
    ask,
    expect,
    isolate,
    ownership,
    rejoin,
    runs_on,
)
from tests.simulation.specs import make_specs
from tests.simulation.variants import Variant

WATCHED = Variant(stop=("a", "b"), expires=True, watchdog_s=1.0)
STOPPING = Variant(stop=("a", "b"))
MAILBOX = Variant(watchdog_s=1.0, disk=True, mailbox_s=2.0)
DISKS = Variant(disk=True)
EXCLUSIVE = Variant(exclusive=True)
RESTORED = Variant(restores=True)


def deaf_to_all(cluster: SimCluster, name: str) -> None:
    """It hears everybody; nobody hears it, and no request of it is answered."""
    for other in others(cluster, name):
        for network in NETWORKS:
            cluster.cut(name, other, network)


async def moved_by_time(cluster: SimCluster) -> None:
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2", within_s=50.0)
    expect(ownership(cluster).proof == "expired", "time was the proof")


async def gone_and_unreachable(cluster: SimCluster) -> None:
    """n1 is cut off, its BMC too: time alone moves its group, after n1 has ended it by itself."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    isolate(cluster, "n1")
    await moved_by_time(cluster)
    rejoin(cluster, "n1")
    cluster.world.hosts["n1"].bmc = "ok"
    await until(cluster, cluster.is_converged, "all runs")


async def gone_with_a_slow_clock(cluster: SimCluster) -> None:
    """The same; its agent hangs, what it runs cannot be killed, its clock is slow, and somebody has
    removed its session by hand: its watchdog ends it just in time."""
    await all_up(cluster)
    host = cluster.world.hosts["n1"]
    cluster.world.clock_rates = {"n1": 0.91, "n2": 1.05}
    for name in cluster.names:
        cluster.set_power(name, False)
    for name in cluster.names:
        cluster.set_power(name, True)
    await until(cluster, cluster.is_converged, "all runs")
    if ownership(cluster).owner != "n1":
        await ask(cluster, OperationKind.MOVE, "group/a", "n1")
    host.bmc = "dead"
    cluster.set_unkillable("n1", True)
    cluster.hang_agent("n1")
    isolate(cluster, "n1")
    await asyncio.sleep(0.5)
    await until(cluster, cluster.world.paths.has_leader, "the others have a store")
    cluster.remove(cluster.keys.session("n1"))
    await until(cluster, lambda: not runs_on(cluster, "n1"), "n1 ended it", within_s=50.0)
    await until(cluster, lambda: ownership(cluster).owner != "n1", "moved", within_s=50.0)


async def hangs_right_after_a_start(cluster: SimCluster) -> None:
    """The agent of n1 hangs before it could tell its pulse what it has just started; it cannot
    reach the store, but hears everybody."""
    await all_up(cluster)
    await ask(cluster, OperationKind.STOP, "group/a")
    cluster.world.hosts["n1"].bmc = "dead"
    at_note(cluster, "up server=n1 group=a resource=a-0", lambda: cluster.hang_agent("n1"))
    cluster.operate(OperationKind.START, "group/a", "n1")
    await until(cluster, lambda: "a-0" in cluster.world.hosts["n1"].active, "a starts")
    deaf_to_all(cluster, "n1")
    await asyncio.sleep(25.0)


async def cannot_be_killed(cluster: SimCluster) -> None:
    """Without the store n1 must end its group, and no signal ends it: the watchdog does."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.set_unkillable("n1", True)
    cluster.hang_agent("n1")
    isolate(cluster, "n1")
    await asyncio.sleep(15.0)
    expect(happened(cluster, "watchdog_bit server=n1"), "the watchdog resets n1")


async def longer_terms(cluster: SimCluster) -> None:
    """The watchdog gets a longer time-out: n1 takes it once its grants allow for that."""
    await all_up(cluster)
    cluster.world.slow_keys[cluster.keys.group("a")] = 3.0
    variant = replace(cluster.world.variant, dead_man_s=5.0, watchdog_s=2.0)
    made = make_specs(cluster.names, cluster.groups, variant)
    cluster.specs = replace(made, revision=2)
    cluster.apply("n3")
    await asyncio.sleep(6.0)
    cluster.world.slow_keys.clear()
    await until(cluster, lambda: ownership(cluster).watchdog_s == 2.0, "the record allows for it")
    cluster.world.hosts["n1"].bmc = "dead"
    isolate(cluster, "n1")
    await moved_by_time(cluster)


async def must_stop_without_the_store(cluster: SimCluster) -> None:
    """Everybody is heard, the store is away, the agent of n1 hangs: its pulse ends the group; n2
    stops its own in order."""
    await all_up(cluster)
    cluster.hang_agent("n1")
    cluster.world.store_stall_until = cluster.loop.now + 20.0
    await asyncio.sleep(10.0)
    expect(not cluster.world.hosts["n1"].active, "n1 runs nothing")
    expect(happened(cluster, "down server=n2 resource=b-0 by=driver"), "n2 stopped in order")


async def policy_that_was_granted(cluster: SimCluster) -> None:
    """The specs say `keep` now, but the group was granted under `stop`, and others count on it."""
    await all_up(cluster)
    made = make_specs(cluster.names, cluster.groups)
    cluster.specs = replace(made, revision=2)
    cluster.apply("n3")
    await asyncio.sleep(3.0)
    cluster.hang_agent("n1")
    cluster.world.store_stall_until = cluster.loop.now + 20.0
    await asyncio.sleep(12.0)


async def late_heartbeats_without_the_store(cluster: SimCluster) -> None:
    """The store is away for all; then n1 misses some heartbeats: it is not alone, and runs on."""
    await all_up(cluster)
    cluster.world.store_stall_until = cluster.loop.now + 25.0
    await asyncio.sleep(10.0)
    isolate(cluster, "n1")
    await asyncio.sleep(0.5)
    rejoin(cluster, "n1")
    lost = lambda: not runs_on(cluster, "n1")  # noqa: E731
    await never(cluster, lost, "a service ends for some late heartbeats", for_s=5.0)


async def mailbox_out_of_reach(cluster: SimCluster) -> None:
    """n1 hears everybody, and is heard by nobody, on no disk either: it cannot read the pill that
    is written for it, and ends all the same."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.hang_agent("n1")
    cluster.cut_disk("n1")
    deaf_to_all(cluster, "n1")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2", within_s=50.0)
    expect(ownership(cluster).proof == "fenced", "the pill is the proof")


async def new_pulse_without_its_disk(cluster: SimCluster) -> None:
    """The same, and the pulse that promised it is replaced by one that never saw the disk."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.cut_disk("n1")
    cluster.kill_pulse("n1", 0.3)
    await asyncio.sleep(0.5)
    cluster.hang_agent("n1")
    deaf_to_all(cluster, "n1")
    await until(cluster, lambda: ownership(cluster).owner != "n1", "moved", within_s=50.0)


async def pill_by_an_operator(cluster: SimCluster) -> None:
    """The BMC is dead; a healthy server finds a pill in its mailbox, and its boot is over."""
    await all_up(cluster)
    victim = others(cluster, cluster.coordinator() or "n1")[0]
    cluster.world.hosts[victim].bmc = "dead"
    boot = cluster.world.hosts[victim].boot_id
    cluster.operate(OperationKind.FENCE, f"server/{victim}")
    over = lambda: cluster.world.hosts[victim].boot_id != boot  # noqa: E731
    await until(cluster, over, "the boot is over")
    await until(cluster, cluster.is_converged, "all runs")


async def heard_on_the_disk_only(cluster: SimCluster) -> None:
    """All networks of n1 are dead: the disk tells that it lives, and nobody switches it off."""
    await all_up(cluster)
    isolate(cluster, "n1")
    await asyncio.sleep(15.0)
    expect(not happened(cluster, "power_command"), "nobody is switched off")


async def last_words_on_the_disk(cluster: SimCluster) -> None:
    """n1 hangs and is switched off; what it wrote to the disk last is read after that."""
    await all_up(cluster)
    cluster.world.store_stall_until = 0.0
    for _ in range(4):
        await until(cluster, cluster.is_converged, "all runs")
        victim = others(cluster, cluster.coordinator() or "n1")[0]
        await asyncio.sleep(3.0 + cluster.loop.rng.random())
        done = await ask(cluster, OperationKind.FENCE, f"server/{victim}")
        expect(done.phase is OperationPhase.DONE, f"fenced at once: {done.result}")
        await until(cluster, cluster.is_at_rest, "all are here")


async def alone_on_a_server(cluster: SimCluster) -> None:
    """Each group wants a server for itself: one that is asked to share does not move."""
    cluster.world.emit(Exclusive(cluster.loop.now, cluster.groups))
    await all_up(cluster)
    await ask(cluster, OperationKind.MOVE, "group/a", "n2")
    cluster.set_power("n3", False)
    cluster.set_power("n1", False)
    await asyncio.sleep(20.0)


async def back_one_by_one(cluster: SimCluster) -> None:
    """Everything lost its power and comes back slowly: nobody is fenced for booting."""
    for name in cluster.names:
        cluster.set_power(name, True)
    await until(cluster, cluster.is_converged, "a healthy start")
    await asyncio.sleep(3.0)
    before = len(cluster.world.trace)
    for name in cluster.names:
        cluster.set_power(name, False)
    await asyncio.sleep(20.0)  # longer than any session lives
    for name in reversed(cluster.names):
        cluster.set_power(name, True)
        await asyncio.sleep(3.0)
    await until(cluster, cluster.is_converged, "all runs again")
    since = cluster.world.trace[before:]
    expect(not any("fence_requested" in line for line in since), "nobody is fenced for booting")


async def an_old_backup(cluster: SimCluster) -> None:
    """The backup says n1; meanwhile n3 runs the group. It is said, and all begins anew."""
    cluster.world.state.store_id = restoring.FIRST
    await all_up(cluster)
    values, revision = restoring.back_up(cluster), cluster.world.state.revision
    await ask(cluster, OperationKind.MOVE, "group/a", "n3")
    restoring.restore(cluster, values, revision)
    moved = lambda: any("a-0" in cluster.world.hosts[n].active for n in ("n1", "n2"))  # noqa: E731
    await never(cluster, moved, "a second owner out of a backup", for_s=15.0)
    restoring.say_restored(cluster)
    await until(cluster, cluster.is_converged, "all runs", within_s=90.0)
    expect(ownership(cluster).epoch >> 48 == 1, "an epoch of the new generation")


async def an_old_backup_and_one_is_away(cluster: SimCluster) -> None:
    """The same, but the owner that the backup does not know is cut off, behind a dead BMC."""
    cluster.world.state.store_id = restoring.FIRST
    await all_up(cluster)
    values, revision = restoring.back_up(cluster), cluster.world.state.revision
    await ask(cluster, OperationKind.MOVE, "group/a", "n3")
    isolate(cluster, "n3")
    cluster.hang_agent("n3")
    cluster.world.hosts["n3"].bmc = "dead"
    restoring.restore(cluster, values, revision)
    cluster.hang_agent("n3")
    restoring.say_restored(cluster)
    await asyncio.sleep(5.0)
    rejoin(cluster, "n3")
    await until(cluster, cluster.is_converged, "all runs", within_s=120.0)
