"""A store restored from an old backup, on the real loops: nothing runs twice, nothing is stuck."""

from collections.abc import Callable
from typing import Any

import pytest

from clusterctl.bootstrap.backup import belongs
from reconciler.decide import decide, leases
from reconciler.decide.records import OperationKind, StoreLife
from reconciler.loops import session
from reconciler.ports.store import Put, Transaction
from tests.simulation.cluster import SimCluster
from tests.simulation.play import never, play, until
from tests.simulation.scenarios import all_up, ask, blocked, converged, expect, runs_on
from tests.simulation.world import NETWORKS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

OLD, NEW = "store-1", "store-2"


def actives(cluster: SimCluster, group: str = "a") -> set[str]:
    """Servers where anything of the group runs, as it really is."""
    hosts = cluster.world.hosts.values()
    return {host.name for host in hosts if any(r.startswith(f"{group}-") for r in host.active)}


def restore(cluster: SimCluster, values: dict[str, bytes]) -> None:
    """What `backup restore` leaves behind; agents that see another store begin anew."""
    state = cluster.world.state
    state.restore(values, 50, NEW)
    known: dict[str, Any] = getattr(state, "_records", {})
    known.clear()
    for name in cluster.names:
        cluster.crash_agent(name)


async def say_restored(cluster: SimCluster) -> None:
    await until(cluster, cluster.world.paths.has_leader, "the store has a leader")
    life = StoreLife(store_id=NEW, generation=1, doubted=cluster.names)
    put = Put(cluster.keys.store_life, life.to_bytes())
    cluster.world.state.commit(Transaction((), (put,)))


async def an_old_backup(cluster: SimCluster) -> None:
    """The backup says n1 at epoch 1; meanwhile n3 runs the group."""
    state, keys = cluster.world.state, cluster.keys
    state.store_id = OLD
    await all_up(cluster)
    listing = state.list(keys.root)
    values = {item.key: item.value for item in listing.items if belongs(keys, item.key)}
    expect(keys.store_life in values, "the store says which one it is")
    await ask(cluster, OperationKind.MOVE, "group/a", "n3")
    expect(runs_on(cluster, "n3"), "a on n3")
    restore(cluster, values)


async def nobody_acts_before_it_is_said(cluster: SimCluster) -> None:
    await an_old_backup(cluster)
    await never(cluster, lambda: actives(cluster) != {"n3"}, "a goes on where it is", 20.0)
    await say_restored(cluster)
    await until(cluster, lambda: converged(cluster), "all groups run again", 90.0)
    expect(runs_on(cluster, "n1"), "a where it is wanted most")


async def the_owner_is_cut_off(cluster: SimCluster) -> None:
    """n3 runs the group, the store does not know it, and its BMC is dead: blocked until it is
    back and says so itself."""
    await an_old_backup(cluster)
    for other in ("n1", "n2"):
        for network in NETWORKS:
            cluster.cut("n3", other, network)
            cluster.cut(other, "n3", network)
    cluster.world.hosts["n3"].bmc = "dead"
    await say_restored(cluster)
    await until(cluster, lambda: blocked(cluster), "a is blocked")
    await never(cluster, lambda: bool(actives(cluster) - {"n3"}), "a runs elsewhere", 20.0)
    for other in ("n1", "n2"):
        for network in NETWORKS:
            cluster.heal("n3", other, network)
            cluster.heal(other, "n3", network)
    cluster.world.hosts["n3"].bmc = "ok"
    await until(cluster, lambda: converged(cluster), "all groups run again", 120.0)


STORIES = (nobody_acts_before_it_is_said, the_owner_is_cut_off)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story(story: Any, seed: int) -> None:
    outcome = play(seed, story)
    assert outcome.violation is None, "\n".join(outcome.trace[-60:])


def _no_doubt(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, leases, session):
        patch.setattr(module, "doubt", lambda _: None)


def _no_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "waiting", lambda _: None)


@pytest.mark.parametrize(
    ("story", "without"),
    [(nobody_acts_before_it_is_said, _no_doubt), (the_owner_is_cut_off, _no_waiting)],
    ids=["doubt", "waiting"],
)
def test_without_its_guard_a_story_breaks(
    story: Any, without: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    assert play(1, story).violation is not None
