"""Crafted stories: the cases that an administrator would try first, and those that need a guard.

A story raises `Violation` when its promise is broken; test_scenarios.py plays them as they are,
test_guards.py with a guard taken out.
"""

import asyncio
from contextvars import Context

from reconciler.decide.records import (
    Coordinator,
    Operation,
    OperationKind,
    OperationPhase,
    Ownership,
    Verdict,
)
from tests.simulation.cluster import SimCluster
from tests.simulation.play import never, until
from tests.simulation.specs import RESOURCES_PER_GROUP
from tests.simulation.world import NETWORKS, Violation

# -- looking ---------------------------------------------------------------------------------


def ownership(cluster: SimCluster, group: str = "a") -> Ownership:
    item = cluster.world.state.get(cluster.keys.group(group))
    return Ownership.from_bytes(item.value) if item else Ownership(group=group, epoch=0)


def verdict(cluster: SimCluster, group: str = "a") -> Verdict | None:
    item = cluster.world.state.get(cluster.keys.verdict(group))
    return Verdict.from_bytes(item.value) if item else None


def blocked(cluster: SimCluster, group: str = "a") -> bool:
    found = verdict(cluster, group)
    return found is not None and found.phase == "blocked"


def operation(cluster: SimCluster, number: str) -> Operation | None:
    item = cluster.world.state.get(cluster.keys.operation(number))
    return Operation.from_bytes(item.value) if item else None


def runs_on(cluster: SimCluster, server: str, group: str = "a") -> bool:
    """All of the group, and the store says that it belongs there."""
    active = cluster.world.hosts[server].active
    whole = all(f"{group}-{number}" in active for number in range(RESOURCES_PER_GROUP))
    return whole and ownership(cluster, group).owner == server


def converged(cluster: SimCluster) -> bool:
    return cluster.is_converged()


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise Violation(f"expected: {what}")


def not_coordinator(cluster: SimCluster) -> tuple[str, str]:
    """A server that an operator's fence may name, and the group that it owns."""
    item = cluster.world.state.get(cluster.keys.coordinator)
    leader = Coordinator.from_bytes(item.value).server if item else ""
    return ("n2", "b") if leader == "n1" else ("n1", "a")


# -- doing -----------------------------------------------------------------------------------


async def all_up(cluster: SimCluster) -> None:
    """Every server on; a runs on n1, b on n2."""
    for name in cluster.names:
        cluster.set_power(name, True)
    await until(cluster, lambda: converged(cluster), "a healthy start")
    expect(runs_on(cluster, "n1", "a"), "a on its first server")
    expect(runs_on(cluster, "n2", "b"), "b on its first server")
    await asyncio.sleep(3.0)


async def ask(
    cluster: SimCluster,
    kind: OperationKind,
    target: str,
    to: str | None = None,
    boot_id: str | None = None,
) -> Operation:
    """What a command line does: store the wish, wait for its end."""
    number = cluster.operate(kind, target, to, boot_id)

    def ended() -> bool:
        found = operation(cluster, number)
        return found is not None and found.phase in (OperationPhase.DONE, OperationPhase.FAILED)

    await until(cluster, ended, f"{kind.value} {target} ends")
    found = operation(cluster, number)
    if found is None:
        raise Violation(f"operation {number} vanished")
    return found


def isolate(cluster: SimCluster, name: str) -> None:
    for other in cluster.names:
        for network in NETWORKS if other != name else ():
            cluster.cut(name, other, network)
            cluster.cut(other, name, network)


def rejoin(cluster: SimCluster, name: str) -> None:
    for other in cluster.names:
        for network in NETWORKS if other != name else ():
            cluster.heal(name, other, network)
            cluster.heal(other, name, network)


# -- stories ---------------------------------------------------------------------------------


async def crash_of_the_owner(cluster: SimCluster) -> None:
    """The machine loses its power: fenced, taken over, powered on again."""
    await all_up(cluster)
    began = cluster.loop.now
    cluster.set_power("n1", False)
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2", within_s=5.0)
    cluster.world.note("outage", seconds=round(cluster.loop.now - began, 3))
    expect(ownership(cluster).proof == "fenced", "the proof is the fence")
    await until(cluster, lambda: cluster.world.hosts["n1"].powered, "n1 is on again")
    await asyncio.sleep(20.0)
    expect(converged(cluster), "all runs once")
    back = await ask(cluster, OperationKind.MOVE, "group/a", "n1")
    expect(back.phase is OperationPhase.DONE, f"its next boot is as good as any: {back.result}")


async def isolated_owner(cluster: SimCluster) -> None:
    """Cut off from everything, alive: fenced before anybody takes over."""
    await all_up(cluster)
    isolate(cluster, "n1")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2", within_s=10.0)
    rejoin(cluster, "n1")
    await asyncio.sleep(20.0)
    expect(converged(cluster), "all runs once")


async def bmc_says_off_while_the_addresses_answer(cluster: SimCluster) -> None:
    """Agent and pulse of n1 hang, its services run on, its BMC reads off: nobody takes over."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "says-off"
    cluster.freeze("n1")
    await until(cluster, lambda: blocked(cluster), "a is blocked")
    moved = lambda: ownership(cluster).owner != "n1"  # noqa: E731
    await never(cluster, moved, "a second owner on the word of a lying BMC", for_s=40.0)
    cluster.unfreeze("n1")
    await until(cluster, lambda: converged(cluster), "all as before")
    expect(ownership(cluster).epoch == 1, "the same ownership")


async def operator_fences_through_a_lying_bmc(cluster: SimCluster) -> None:
    """The BMC takes the command and reads off; the server lives, has no address and is heard."""
    await all_up(cluster)
    victim, group = not_coordinator(cluster)
    cluster.world.answering = False
    cluster.world.hosts[victim].bmc = "lies"
    await asyncio.sleep(cluster.loop.rng.random())  # anywhere between two heartbeats
    done = await ask(cluster, OperationKind.FENCE, f"server/{victim}")
    expect(done.phase is OperationPhase.FAILED, f"the fence is no success: {done.result}")
    moved = lambda: ownership(cluster, group).owner != victim  # noqa: E731
    await never(cluster, moved, "a second owner on the word of a lying BMC", for_s=20.0)


async def operator_fences_a_healthy_server(cluster: SimCluster) -> None:
    await all_up(cluster)
    victim, group = not_coordinator(cluster)
    done = await ask(cluster, OperationKind.FENCE, f"server/{victim}")
    expect(done.phase is OperationPhase.DONE, f"fenced: {done.result}")
    await until(cluster, lambda: ownership(cluster, group).owner != victim, "it moved")
    await asyncio.sleep(20.0)
    expect(converged(cluster), "all runs once")
    requests = sum("fence_requested" in line for line in cluster.world.trace)
    expect(requests == 1, f"powered off once, not {requests} times")


async def dead_bmc_until_a_person_confirms(cluster: SimCluster) -> None:
    await all_up(cluster)
    boot_id = cluster.world.hosts["n1"].boot_id
    cluster.world.hosts["n1"].bmc = "dead"
    early = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id=boot_id)
    expect(early.phase is OperationPhase.FAILED, "no confirmation while n1 is heard")
    expect("still heard" in early.result, f"says why: {early.result}")
    cluster.set_power("n1", False)
    await until(cluster, lambda: blocked(cluster), "a is blocked")
    moved = lambda: ownership(cluster).owner != "n1"  # noqa: E731
    await never(cluster, moved, "a takeover without proof", for_s=30.0)
    found = verdict(cluster)
    expect(found is not None and found.next_command == "clusterctl fence confirm n1", "what to do")
    wrong = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id="n1-boot-0")
    expect(wrong.phase is OperationPhase.FAILED, "no confirmation of another boot")
    done = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id=boot_id)
    expect(done.phase is OperationPhase.DONE, f"confirmed: {done.result}")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2")
    expect(ownership(cluster).proof == "confirmed", "the proof is the person's word")


async def move_there_and_back(cluster: SimCluster) -> None:
    await all_up(cluster)
    for to, epoch in (("n3", 2), ("n1", 3)):
        done = await ask(cluster, OperationKind.MOVE, "group/a", to)
        expect(done.phase is OperationPhase.DONE, f"moved: {done.result}")
        expect(runs_on(cluster, to), f"a on {to}")
        expect(ownership(cluster).epoch == epoch, f"epoch {epoch}")


async def refused_move(cluster: SimCluster) -> None:
    """A move to where the group is, or cannot be, does not touch it."""
    await all_up(cluster)
    down = lambda: not runs_on(cluster, "n1")  # noqa: E731
    for to in ("n1", "n9"):
        cluster.operate(OperationKind.MOVE, "group/a", to)
        await never(cluster, down, f"a stops for a move to {to}", for_s=3.0)


async def stop_and_start(cluster: SimCluster) -> None:
    await all_up(cluster)
    done = await ask(cluster, OperationKind.STOP, "group/a")
    expect(done.phase is OperationPhase.DONE, f"stopped: {done.result}")
    running = lambda: any("a-0" in h.active for h in cluster.world.hosts.values())  # noqa: E731
    await never(cluster, running, "a stopped group runs", for_s=20.0)
    done = await ask(cluster, OperationKind.START, "group/a", "n3")
    expect(done.phase is OperationPhase.DONE, f"started: {done.result}")
    expect(runs_on(cluster, "n3"), "a on n3")


async def power_loss_of_everything(cluster: SimCluster, gap_s: float = 0.0) -> None:
    """All lose power at once; they come back one by one and start what they ran, where it ran."""
    await all_up(cluster)
    for name in cluster.names:
        cluster.set_power(name, False)
    await asyncio.sleep(20.0)  # longer than any session lives
    for name in reversed(cluster.names):
        cluster.set_power(name, True)
        await asyncio.sleep(gap_s)
    await until(cluster, lambda: converged(cluster), "all runs again")
    expect(ownership(cluster).epoch == 2, "a new epoch after a power loss")
    expect(not any("fence_requested" in line for line in cluster.world.trace), "nobody is fenced")


async def slow_return_after_a_power_loss(cluster: SimCluster) -> None:
    """A server that boots slower than the others is waited for, not fenced in the middle of it."""
    await power_loss_of_everything(cluster, gap_s=3.0)


async def power_loss_and_one_never_returns(cluster: SimCluster) -> None:
    """Its BMC is dead too: what it owned stays blocked, the rest starts after the barrier."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    for name in cluster.names:
        cluster.set_power(name, False)
    await asyncio.sleep(20.0)  # longer than any session lives
    cluster.set_power("n2", True)
    cluster.set_power("n3", True)
    b_runs = lambda: runs_on(cluster, ownership(cluster, "b").owner or "n1", "b")  # noqa: E731
    await never(cluster, b_runs, "a start before the barrier", for_s=15.0)
    await until(cluster, b_runs, "b runs again")
    await until(cluster, lambda: blocked(cluster), "a is blocked")
    moved = lambda: ownership(cluster).owner != "n1"  # noqa: E731
    await never(cluster, moved, "a takeover without proof", for_s=20.0)
    boot_id = cluster.world.hosts["n1"].boot_id
    done = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id=boot_id)
    expect(done.phase is OperationPhase.DONE, f"confirmed: {done.result}")
    await until(cluster, lambda: ownership(cluster).owner in ("n2", "n3"), "a is taken over")


# Moments of a start at which the agent may die; each is an event of the trace.
STEPS = (
    "operation_started",
    "group_granted",
    "up server=n3 group=a resource=a-0",
    "up server=n3 group=a resource=a-1",
    "resource_started group=a resource=a-0",
    "group_online",
    "operation_finished",
)


class CrashAt:
    """A stopped group is started on n3, whose agent (or the coordinator's) dies at this step."""

    def __init__(self, step: str, server: str) -> None:
        self.step, self.server = step, server

    async def __call__(self, cluster: SimCluster) -> None:
        await all_up(cluster)
        await ask(cluster, OperationKind.STOP, "group/a")
        self._arm(cluster)
        cluster.operate(OperationKind.START, "group/a", "n3")
        await until(cluster, lambda: self.crashed, f"the agent dies at {self.step}")
        await asyncio.sleep(5.0)
        await until(cluster, lambda: converged(cluster), "all runs in the end")
        expect(ownership(cluster).owner == "n3", "nothing had to move")

    def _arm(self, cluster: SimCluster) -> None:
        self.crashed = False

        def noted(line: str) -> None:
            if self.step in line and not self.crashed:
                self.crashed = True
                crash = cluster.crash_agent
                cluster.loop.call_soon(crash, self.server, context=Context())

        cluster.world.on_note = noted


async def late_effect_after_a_false_confirmation(cluster: SimCluster) -> None:
    """n1 freezes in the middle of a start, a person swears that it is off, a runs on n2; then n1
    wakes and goes on with the start. Nothing but the permit stands in between."""
    await all_up(cluster)
    await ask(cluster, OperationKind.STOP, "group/a")
    host = cluster.world.hosts["n1"]
    host.slow_drivers_s, host.bmc = 60.0, "dead"
    cluster.operate(OperationKind.START, "group/a", "n1")
    await until(cluster, lambda: ownership(cluster).owner == "n1", "a is granted to n1")
    await asyncio.sleep(0.1)
    cluster.freeze("n1")
    expect(not host.active, "the start has not come to its irreversible step")
    await asyncio.sleep(15.0)
    boot_id = host.boot_id
    done = await ask(cluster, OperationKind.CONFIRM_FENCE, "server/n1", boot_id=boot_id)
    expect(done.phase is OperationPhase.DONE, f"believed: {done.result}")
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2")
    host.slow_drivers_s = 0.0
    await asyncio.sleep(60.0)  # the driver's slow step is over when n1 wakes
    cluster.unfreeze("n1")
    await asyncio.sleep(5.0)
    cluster.check()


async def release_that_arrives_late(cluster: SimCluster) -> None:
    """The release of a failed epoch is on its way for seconds when the agent dies. Its successor
    does not see it, and must not start that epoch again: the release would then be a lie."""
    await all_up(cluster)
    host = cluster.world.hosts["n1"]
    cluster.world.slow_keys[cluster.keys.release("a")] = 6.0
    host.failing_starts = True
    cluster.world.stop_resource("n1", "a-0", "itself")
    sent = lambda: "slow request" in cluster.world.trace[-1]  # noqa: E731
    await until(cluster, sent, "the release is under way")
    cluster.crash_agent("n1")
    host.failing_starts = False
    await asyncio.sleep(30.0)
    expect(converged(cluster), "all runs once")
