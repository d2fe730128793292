"""Violations that were found on the way, kept as they were found: a seed or a story, and one line.

A seed is bound to the schedule that the generator drew then; what made it matter is also a story.
"""

import asyncio

from reconciler.decide.records import Operation, OperationKind, OperationPhase
from tests.simulation.cluster import SimCluster
from tests.simulation.guards import stories
from tests.simulation.play import Story, until
from tests.simulation.scenarios import (
    all_up,
    expect,
    operation,
    runs_on,
    slow_return_after_a_power_loss,
)


async def two_fences_in_a_row(cluster: SimCluster) -> None:
    await all_up(cluster)
    victims = stories.others(cluster, stories.leader(cluster))
    asked = [cluster.operate(OperationKind.FENCE, f"server/{victim}") for victim in victims]
    fewest, end = len(cluster.names), cluster.loop.now + 30.0
    while cluster.loop.now < end:
        fewest = min(fewest, sum(cluster.world.stands(name) for name in cluster.names))
        await asyncio.sleep(0.01)
    expect(fewest == 2, "never two of three off")
    found = [operation(cluster, number) for number in asked]
    expect(all(o and o.phase is OperationPhase.DONE for o in found), "both were fenced in the end")


async def move_that_is_overtaken(cluster: SimCluster) -> None:
    await all_up(cluster)
    move = cluster.operate(OperationKind.MOVE, "group/a", "n3")
    older = Operation(id="0" * 26, kind=OperationKind.STOP, target="group/a", who="sim")
    await asyncio.sleep(0.006)  # the move is under way, and nothing has moved yet
    cluster.store(cluster.keys.operation(older.id), older.to_bytes())
    await until(cluster, lambda: "a-0" not in cluster.world.hosts["n1"].active, "a is stopped")
    cluster.operate(OperationKind.START, "group/a")
    await until(cluster, lambda: any(runs_on(cluster, n) for n in cluster.names), "a runs again")
    found = operation(cluster, move)
    expect(found is not None and found.phase is not OperationPhase.RUNNING, "the move has ended")


async def unclear_after_the_reset_too(cluster: SimCluster) -> None:
    await all_up(cluster)
    cluster.world.hosts["n1"].unclear, cluster.world.hosts["n1"].bmc = True, "dead"
    cluster.operate(OperationKind.MOVE, "group/a", "n3")
    await asyncio.sleep(30.0)
    resets = sum(" reset server=n1" in line for line in cluster.world.trace)
    expect(resets == 1, f"one reset of n1, not {resets}")
    cluster.world.hosts["n1"].unclear = False
    await until(cluster, lambda: runs_on(cluster, "n3"), "a on n3")


STORIES: tuple[tuple[str, Story, int], ...] = (
    (
        """etcd prolongs all leases at an election: a session left from before a power loss ended
        the startup barrier, and a server that booted slowly was fenced in the middle of it""",
        slow_return_after_a_power_loss,
        3,
    ),
    (
        """the second executor's copy of the store was 12 s behind: it counted the intent's validity
        from seeing it, and switched off a server that was well again""",
        stories.second_executor_hears_late_of_its_intent,
        3,
    ),
    (
        """a machine stood still for 4 s; its old lease proof was still valid when it went on, and a
        resource started on what was known before the pause""",
        stories.start_after_a_pause,
        3,
    ),
    (
        """two fences in a row: the second counted on the store member that the first had just
        ended, and the last server was left without a quorum, dark for ever""",
        two_fences_in_a_row,
        3,
    ),
    (
        """a stop from where the clock is behind has an older name: it overtook a move, which never
        ended, and every later wish waited for it""",
        move_that_is_overtaken,
        3,
    ),
    (
        """nobody could tell whether a resource runs, after the reset neither: the server reset
        itself as soon as it was up, again and again""",
        unclear_after_the_reset_too,
        3,
    ),
)

SEEDS: tuple[tuple[int, str], ...] = (
    (106, "a stop that waited for the store came after the start that followed it: not a fault"),
    (182, "a server rebooted into its own open fence waits for the slot's end before its session"),
    (246, "a BMC that lies about a server that nobody hears or reaches: beyond the promise"),
    (417, "a server that was heard again while a slow device opened its session was switched off"),
    (280, "a resource died while the next one of its group was starting: not a wrong order"),
    (320, "an intent that arrived 5 s late fenced a server that had come back: it is compared now"),
    (361, "a pulse that was killed began to count anew since when its server is alone"),
    (376, "a coordinator wrote the intent to fence itself, and granted a group in the same breath"),
    (589, "a restored store had half a stop in it: the start that followed was taken for done"),
    (616, "a frozen executor went on with its fence of a server that had come back meanwhile"),
    (745, "a grant did not compare where a group is that must not share its server"),
    (795, "a start was refused while no server could run it, and nobody asked again: not a fault"),
    (856, "the store had stood still until just before the challenge: not a fault"),
    (1227, "a coordinator took its place after its fence's executor had rebooted: not a fault"),
    (1545, "an operator was told that a fence failed while its last attempt went on, and worked"),
    (1805, "a backup from before a start was restored, and nobody asked again: not a fault"),
    (2529, "a slow BMC switched a server off when the calm had begun already: not a fault"),
    (4214, "a server became alone while it had no pulse, and its agent hung: nobody could know"),
    (4562, "a resource died during the slow start of the next one: not a wrong order"),
    (2926, "who was silent already sent a last heartbeat when it lost power: not a fault"),
    (703, "a stop of before the calm was stored after its last start: not a fault"),
)
