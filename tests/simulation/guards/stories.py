"""Stories in which one guard alone stands between a fault and a broken rule. They hold with every
guard in place (test_scenarios.py), and not without theirs (`table.py`)."""

import asyncio
from contextvars import Context

from reconciler.decide.records import OperationKind, OperationPhase
from tests.simulation import monitors
from tests.simulation.cluster import SimCluster
from tests.simulation.ears import NETWORKS, path_of_heartbeats
from tests.simulation.play import never, until
from tests.simulation.scenarios import (
    all_up,
    ask,
    blocked,
    expect,
    isolate,
    not_coordinator,
    ownership,
    rejoin,
    runs_on,
)
from tests.simulation.virtual_time import SimClock

HEARTBEATS = tuple(path_of_heartbeats(network) for network in NETWORKS)


def happened(cluster: SimCluster, words: str) -> bool:
    return any(words in line for line in cluster.world.trace)


def leader(cluster: SimCluster) -> str:
    return cluster.coordinator() or "n1"


def others(cluster: SimCluster, *names: str) -> list[str]:
    return [name for name in cluster.names if name not in names]


def cut_between(cluster: SimCluster, a: str, b: str, paths: tuple[str, ...]) -> None:
    for path in paths:
        cluster.cut(a, b, path)
        cluster.cut(b, a, path)


def at_note(cluster: SimCluster, words: str, do: "object") -> None:
    """Once, right after the first line with these words."""
    armed = [do]

    def noted(line: str) -> None:
        if words in line and armed:
            cluster.loop.call_soon(armed.pop(), context=Context())  # type: ignore[arg-type]

    cluster.world.on_note = noted


async def heartbeats_alone_are_cut(cluster: SimCluster) -> None:
    """Nobody hears it, but it lives and can answer through the store: nobody switches it off."""
    await all_up(cluster)
    victim, group = not_coordinator(cluster)
    for other in others(cluster, victim):
        cut_between(cluster, victim, other, HEARTBEATS)
    await never(
        cluster, lambda: ownership(cluster, group).owner != victim, "a takeover", for_s=12.0
    )
    expect(not happened(cluster, "power_command"), "nobody is switched off")


async def hears_nobody_but_has_the_store(cluster: SimCluster) -> None:
    """It is heard, hears nobody, and answers through the store: nobody switches it off."""
    await all_up(cluster)
    victim, group = not_coordinator(cluster)
    for other in others(cluster, victim):
        for path in HEARTBEATS:
            cluster.cut(other, victim, path)
    await never(
        cluster, lambda: ownership(cluster, group).owner != victim, "a takeover", for_s=12.0
    )
    expect(not happened(cluster, "power_command"), "nobody is switched off")


async def nothing_reaches_the_owner(cluster: SimCluster) -> None:
    """It is heard, and can neither hear nor be answered: it is ended before it ends itself."""
    await all_up(cluster)
    victim, group = not_coordinator(cluster)
    for other in others(cluster, victim):
        for network in NETWORKS:
            cluster.cut(other, victim, network)
    await until(
        cluster, lambda: ownership(cluster, group).owner != victim, "a takeover", within_s=5.0
    )
    expect(happened(cluster, "power_command"), "it was switched off")


async def one_deaf_coordinator(cluster: SimCluster) -> None:
    """The coordinator alone does not hear a server whose agent hangs; another one hears it well."""
    await all_up(cluster)
    victim, _ = not_coordinator(cluster)
    cluster.hang_agent(victim)
    cut_between(cluster, victim, leader(cluster), NETWORKS)
    await asyncio.sleep(8.0)
    expect(not happened(cluster, "power_command"), "nobody is switched off")


async def executor_that_wakes_too_late(cluster: SimCluster) -> None:
    """It stands still between intent and packet; when it goes on, the victim is well again."""
    await all_up(cluster)
    victim, _ = not_coordinator(cluster)
    chief = leader(cluster)
    cluster.world.hosts[victim].bmc = "slow"
    cluster.world.hosts[chief].bmc = "dead"
    at_note(cluster, f"server={victim} why=", lambda: cluster.freeze(chief))
    cluster.freeze(victim)
    await until(cluster, lambda: chief in cluster.world.frozen, "the executor stands still")
    await asyncio.sleep(40.0)
    cluster.unfreeze(victim)
    cluster.unfreeze(chief)
    await asyncio.sleep(10.0)


async def executor_that_stood_still(cluster: SimCluster) -> None:
    """It goes on with its fence in time, but the victim is well again since a while."""
    await all_up(cluster)
    victim, _ = not_coordinator(cluster)
    chief = leader(cluster)
    cluster.world.hosts[victim].bmc = "slow"
    at_note(cluster, f"server={victim} why=", lambda: cluster.freeze(chief))
    cluster.freeze(victim)
    await until(cluster, lambda: chief in cluster.world.frozen, "the executor stands still")
    cluster.unfreeze(victim)
    await asyncio.sleep(5.0)
    cluster.unfreeze(chief)
    await asyncio.sleep(10.0)


async def restarted_executor_finds_an_old_intent(cluster: SimCluster) -> None:
    """The executor loses its power over the intent; the clock of its new boot begins anew, and
    cannot tell how old that is."""
    await all_up(cluster)
    victim, _ = not_coordinator(cluster)
    chief = leader(cluster)
    cluster.world.hosts[victim].bmc = "slow"
    cluster.hang_agent(others(cluster, victim, chief)[0])
    at_note(cluster, f"server={victim} why=", lambda: cluster.set_power(chief, False))
    cluster.freeze(victim)
    host = cluster.world.hosts[chief]
    await until(cluster, lambda: not host.powered, "the executor dies")
    await asyncio.sleep(20.0)
    cluster.unfreeze(victim)
    cluster.set_power(chief, True)
    host.clock = SimClock(cluster.loop, 1.0, -cluster.loop.now)
    await asyncio.sleep(12.0)


async def second_executor_hears_late_of_its_intent(cluster: SimCluster) -> None:
    """The first attempt fails; the next executor's copy of the store is far behind."""
    await all_up(cluster)
    victim, _ = not_coordinator(cluster)
    chief = leader(cluster)
    cluster.world.hosts[victim].bmc = "dead"
    cluster.world.lag[others(cluster, victim, chief)[0]] = 12.0
    cluster.freeze(victim)
    await until(cluster, lambda: happened(cluster, "fence_requested attempt=2"), "a second attempt")
    cluster.world.hosts[victim].bmc = "ok"
    await asyncio.sleep(1.0)
    cluster.unfreeze(victim)
    await asyncio.sleep(25.0)


async def fence_that_would_end_the_store(cluster: SimCluster) -> None:
    """One server is down for good, another one's agent hangs unheard, but its etcd is needed."""
    await all_up(cluster)
    chief = leader(cluster)
    gone, victim = others(cluster, chief)
    cluster.world.hosts[gone].bmc = "dead"
    cluster.set_power(gone, False)
    await asyncio.sleep(10.0)
    cluster.hang_agent(victim)
    cut_between(cluster, victim, chief, HEARTBEATS)
    await asyncio.sleep(40.0)
    expect(not happened(cluster, f"power_command server={victim}"), "the store is kept")


async def decision_that_arrives_again(cluster: SimCluster) -> None:
    """A write takes 6 s; its writer gives up, decides anew, and everything arrives in the end."""
    await all_up(cluster)
    cluster.world.slow_keys[cluster.keys.group("a")] = 6.0
    cluster.operate(OperationKind.MOVE, "group/a", "n2")
    await asyncio.sleep(12.0)
    cluster.world.slow_keys.clear()
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2")
    expect(ownership(cluster).epoch == 2, "one move")


async def deposed_while_its_decision_travels(cluster: SimCluster) -> None:
    """The coordinator stands still after it has sent a decision; that arrives when another server
    decides already."""
    await all_up(cluster)
    chief = leader(cluster)
    cluster.world.hosts[chief].bmc = "dead"
    owner, group = not_coordinator(cluster)
    cluster.world.slow_keys[cluster.keys.group(group)] = 2.5
    cluster.world.hosts[owner].failing_starts = True
    cluster.world.stop_resource(owner, f"{group}-0", "itself")
    await until(cluster, lambda: happened(cluster, "slow request"), "the decision is under way")
    cluster.freeze(chief)
    await asyncio.sleep(3.0)
    cluster.world.slow_keys.clear()
    await asyncio.sleep(6.0)
    expect(cluster.coordinator() != chief, "another one decides")
    cluster.unfreeze(chief)
    await asyncio.sleep(10.0)


async def stop_that_fails(cluster: SimCluster) -> None:
    """What cannot be stopped is not given away: the machine resets itself."""
    await all_up(cluster)
    cluster.world.hosts["n1"].failing_stops = True
    cluster.operate(OperationKind.MOVE, "group/a", "n2")
    await until(cluster, lambda: ownership(cluster).owner == "n2", "a is moved in the end")
    expect(happened(cluster, "reset server=n1"), "n1 resets itself")


async def session_on_old_knowledge(cluster: SimCluster) -> None:
    """n1 wakes in the middle of a start; it is given up already, and its copy is behind."""
    await all_up(cluster)
    await ask(cluster, OperationKind.STOP, "group/a")
    host = cluster.world.hosts["n1"]
    host.slow_drivers_s, host.bmc = 60.0, "dead"
    cluster.operate(OperationKind.START, "group/a", "n1")
    await until(cluster, lambda: ownership(cluster).owner == "n1", "a is granted to n1")
    await asyncio.sleep(0.1)
    cluster.freeze("n1")
    await asyncio.sleep(15.0)
    done = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id=host.boot_id)
    expect(done.phase is OperationPhase.DONE, f"believed: {done.result}")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2")
    host.slow_drivers_s = 0.0
    cluster.world.lag["n1"] = 8.0
    await asyncio.sleep(60.0)
    cluster.unfreeze("n1")
    await asyncio.sleep(12.0)


async def quick_restart(cluster: SimCluster) -> None:
    """n1 is back before it is proven off: its new boot does not go on at the old epoch."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.set_power("n1", False)
    cluster.set_power("n1", True)
    await until(cluster, lambda: ownership(cluster).epoch == 2, "a new epoch")
    cluster.world.hosts["n1"].bmc = "ok"
    await until(cluster, cluster.is_converged, "all runs")


async def alone_without_a_bmc(cluster: SimCluster) -> None:
    """Cut off from all, and nobody can fence it: it stops what it runs by itself."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    isolate(cluster, "n1")
    await asyncio.sleep(15.0)
    expect(not cluster.world.hosts["n1"].active, "n1 runs nothing")
    rejoin(cluster, "n1")
    cluster.world.hosts["n1"].bmc = "ok"
    await until(cluster, cluster.is_converged, "all runs")


async def alone_with_a_hanging_agent(cluster: SimCluster) -> None:
    """The same, but its agent hangs: its pulse ends everything."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.hang_agent("n1")
    isolate(cluster, "n1")
    await asyncio.sleep(15.0)
    expect(not cluster.world.hosts["n1"].active, "n1 runs nothing")


async def start_without_a_pulse(cluster: SimCluster) -> None:
    """The pulse is away for long and a resource dies: nothing starts that nobody would end."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.kill_pulse("n1", 20.0)
    await asyncio.sleep(3.0)
    cluster.world.stop_resource("n1", "a-0", "itself")
    await asyncio.sleep(30.0)
    await until(cluster, cluster.is_converged, "all runs")


async def start_after_a_pause(cluster: SimCluster) -> None:
    """n1 stood still for seconds; before its session is proven again a resource dies."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    cluster.freeze("n1")
    await asyncio.sleep(4.0)
    cluster.world.store_stall_until = cluster.loop.now + 12.0
    cluster.unfreeze("n1")
    await asyncio.sleep(0.3)
    cluster.world.stop_resource("n1", "a-1", "itself")
    await asyncio.sleep(20.0)
    cluster.world.hosts["n1"].bmc = "ok"
    await until(cluster, cluster.is_converged, "all runs")


async def last_moments_of_a_proof(cluster: SimCluster) -> None:
    """Answers to renewals come late, then none: a start must not count from the late answer, nor be
    made when the dead-man time, or the session's, is over."""
    await all_up(cluster)
    cluster.world.slow_replies["keep_alive"] = 0.9
    await asyncio.sleep(5.0)
    cluster.world.store_stall_until = cluster.loop.now + 40.0
    host = cluster.world.hosts["n1"]
    age = lambda: host.clock.now() - host.proof_at  # noqa: E731
    await until(cluster, lambda: age() >= 5.9, "the proof is nearly overdue")
    cluster.world.stop_resource("n1", "a-1", "itself")
    await until(cluster, lambda: age() >= 8.0, "it is")
    cluster.world.stop_resource("n1", "a-1", "itself")
    await until(cluster, lambda: age() >= 15.0, "the session is over, too")
    cluster.world.stop_resource("n1", "a-1", "itself")
    await asyncio.sleep(5.0)


async def two_at_once(cluster: SimCluster) -> None:
    """Two of five die at once, and BMCs take their time: one fence after the other."""
    await all_up(cluster)
    gone = others(cluster, leader(cluster))[:2]
    for name in gone:
        cluster.world.hosts[name].bmc = "slow"
        cluster.freeze(name)
    await asyncio.sleep(30.0)


async def bmc_of_another_server(cluster: SimCluster) -> None:
    """n1 hangs, and the BMC under its address belongs to its neighbour."""
    await all_up(cluster)
    cluster.world.answering = False
    cluster.world.hosts["n1"].bmc = "swapped"
    cluster.freeze("n1")
    await until(cluster, lambda: blocked(cluster), "a is blocked")
    await asyncio.sleep(20.0)
    expect(not happened(cluster, "power_command"), "nobody is switched off")


async def sick_wherever_it_runs(cluster: SimCluster) -> None:
    """It comes and goes; each server is reset once for it, and not again and again."""
    await all_up(cluster)
    ladder = {"restarts": 0, "failovers": 0, "finalAction": "reboot"}
    monitors.watch(cluster, recovery=ladder, resetAfter=1)
    for _ in range(8):
        monitors.make_sick(cluster, *cluster.names)
        await asyncio.sleep(12.0)
        monitors.make_well(cluster, *cluster.names)
        await asyncio.sleep(12.0)
    for name in cluster.names:
        resets = monitors.happened(cluster, "reset", f"server={name}")
        expect(resets <= 1, f"{resets} resets of {name}")
