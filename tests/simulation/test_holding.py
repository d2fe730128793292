"""`agent hold` on the real loops in virtual time: what runs is kept, and nothing else changes."""

import pytest

from reconciler.decide.records import Operation, OperationKind, OperationPhase, Verdict
from tests.simulation import scenarios
from tests.simulation.cluster import SimCluster
from tests.simulation.facts import Hears, Held, Tick, Up
from tests.simulation.invariants.self_stop_in_time import SelfStopInTime
from tests.simulation.play import Story, never, play, until
from tests.simulation.scenarios import all_up, expect, isolate, ownership, rejoin, runs_on

HOLD_ID = "9" * 26


async def hold(cluster: SimCluster, server: str, for_s: float) -> None:
    """What `agent hold` stores; returns when its end was told to the operator."""
    record = Operation(
        id=HOLD_ID,
        kind=OperationKind.HOLD,
        target=f"server/{server}",
        for_s=for_s,
        who="sim",
        created_wall=cluster.loop.now,
    )
    cluster.store(cluster.keys.operation(HOLD_ID), record.to_bytes())

    def ended() -> bool:
        found = scenarios.operation(cluster, HOLD_ID)
        return found is not None and found.phase in (OperationPhase.DONE, OperationPhase.FAILED)

    await until(cluster, ended, "the hold is in force")
    found = scenarios.operation(cluster, HOLD_ID)
    expect(found is not None and found.phase is OperationPhase.DONE, f"held: {found}")


async def held_and_cut_off(cluster: SimCluster) -> None:
    """The agent is away and the server is cut off, its BMC is dead: what runs there is kept, nobody
    else gets it; at the end of the hold it stops by itself."""
    await all_up(cluster)
    cluster.world.hosts["n1"].bmc = "dead"
    await hold(cluster, "n1", 60.0)
    began = cluster.loop.now
    cluster.hang_agent("n1")
    isolate(cluster, "n1")
    lost = lambda: not runs_on(cluster, "n1")  # noqa: E731
    await never(cluster, lost, "a held service ends", for_s=began + 50.0 - cluster.loop.now)
    await until(cluster, lambda: not cluster.world.hosts["n1"].active, "it stops after the hold")
    expect(ownership(cluster).owner == "n1", "nobody took it over without a proof")
    rejoin(cluster, "n1")
    cluster.world.hosts["n1"].bmc = "ok"
    cluster.unhang_agent("n1")
    await until(cluster, lambda: scenarios.converged(cluster), "all runs again")


async def held_and_its_session_ends(cluster: SimCluster) -> None:
    """The agent is away for a minute while its pulse is heard: nothing moves, nothing stops."""
    await all_up(cluster)
    await hold(cluster, "n1", 90.0)
    cluster.hang_agent("n1")
    moved = lambda: ownership(cluster).epoch != 1 or not runs_on(cluster, "n1")  # noqa: E731
    await never(cluster, moved, "a held group moves", for_s=60.0)
    cluster.unhang_agent("n1")
    await until(
        cluster,
        lambda: cluster.world.state.get(cluster.keys.hold("n1")) is None,
        "the hold ends by itself",
    )
    expect(runs_on(cluster, "n1"), "and its groups run on")


async def held_and_dead(cluster: SimCluster) -> None:
    """A held server whose machine dies is fenced and its groups move as ever."""
    await all_up(cluster)
    await hold(cluster, "n1", 600.0)
    cluster.set_power("n1", False)
    await until(cluster, lambda: runs_on(cluster, "n2"), "a on n2", within_s=5.0)
    expect(ownership(cluster).proof == "fenced", "with a proof")
    gone = lambda: cluster.world.state.get(cluster.keys.hold("n1")) is None  # noqa: E731
    await until(cluster, gone, "the hold ended with its boot")


async def nothing_new_for_a_held_server(cluster: SimCluster) -> None:
    await all_up(cluster)
    await hold(cluster, "n2", 600.0)
    cluster.set_power("n1", False)
    await until(cluster, lambda: runs_on(cluster, "n3"), "a on n3, not on n2")
    item = cluster.world.state.get(cluster.keys.verdict("a"))
    expect(item is None or Verdict.from_bytes(item.value).phase != "blocked", "not blocked")
    expect(
        "its agent is on hold" in str([c.reason for c in ownership(cluster).candidates]), "and why"
    )


STORIES: tuple[Story, ...] = (
    held_and_cut_off,
    held_and_its_session_ends,
    held_and_dead,
    nothing_new_for_a_held_server,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story(story: Story) -> None:
    outcome = play(1, story)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


def test_a_pulse_that_waits_longer_than_the_hold_is_noticed() -> None:
    """The invariant knows holds: it forgives until their end and not after it."""
    invariant = SelfStopInTime()
    handlers = invariant.handlers()
    for fact in (
        Up(0.0, "n1", "a", "a-0", 1, 0),
        Held(1.0, "n1", 60.0),
        Hears(2.0, "n1", False),
    ):
        assert handlers[type(fact)](fact) is None
    assert handlers[Tick](Tick(60.0, (), False)) is None
    assert "still run" in str(handlers[Tick](Tick(80.0, (), False)))
