"""The store comes out of a backup, and a person says so later: a fault of chaos, and of stories."""

from contextvars import Context

from clusterctl.bootstrap.backup import belongs
from reconciler.decide.records import Record, StoreLife
from tests.simulation.cluster import SimCluster
from tests.simulation.facts import Restored
from tests.simulation.store import _model

FIRST = "store-1"


def back_up(cluster: SimCluster) -> dict[str, bytes]:
    """What `clusterctl backup create` would hold now."""
    listing = cluster.world.state.list(cluster.keys.root)
    return {item.key: item.value for item in listing.items if belongs(cluster.keys, item.key)}


def restore(cluster: SimCluster, values: dict[str, bytes], revision: int) -> None:
    """Another store with these values. What was under way ends with the old one; agents that see
    another store begin anew."""
    state = cluster.world.state
    for task in tuple(state._tasks):
        task.cancel()
    for number in range(1, cluster.applied + 1):
        cluster.loop.kill(f"apply-{number}")
    state.restore(values, revision, f"{state.store_id}-restored")
    records: dict[str, Record] = {}
    for key, value in values.items():
        model = _model(cluster.keys.parse(key))
        if model is not None:
            records[key] = model.from_bytes(value)
    state._records.clear()
    state._records.update(records)
    cluster.world.note("restored", revision=revision, store=state.store_id)
    found = tuple((cluster.keys.parse(key), record) for key, record in sorted(records.items()))
    cluster.world.emit(Restored(cluster.loop.now, found))
    for name in cluster.names:
        cluster.crash_agent(name)


def say_restored(cluster: SimCluster) -> None:
    """`clusterctl store restored`, as soon as the store takes it."""
    state, hosts = cluster.world.state, cluster.world.hosts.values()
    known = [host.disk["store"].generation for host in hosts if "store" in host.disk]
    life = StoreLife(
        store_id=state.store_id, generation=max([0, *known]) + 1, doubted=cluster.names
    )
    cluster.world.note("store_restored_said", generation=life.generation)
    cluster.store(cluster.keys.store_life, life.to_bytes())


def later(cluster: SimCluster, delay: float) -> None:
    """It is said after so long, once."""
    cluster.loop.call_later(delay, say_restored, cluster, context=Context())
