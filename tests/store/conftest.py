"""The stores that the contract suite runs on; one real etcd cluster serves a whole test run."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.ports.store import Store
from tests.integration.etcd_cluster import EtcdCluster, LoopClock, find_program


@pytest.fixture(scope="session")
def etcd_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if find_program("etcd") is None or find_program("etcdctl") is None:
        pytest.skip("etcd and etcdctl are not installed")
    cluster = EtcdCluster.start(tmp_path_factory.mktemp("etcd"), size=1)
    yield cluster
    cluster.stop()


class Rig:
    """One store under test: `client` opens further clients, `compact` forgets the history."""

    def __init__(
        self,
        client: Callable[[], Store],
        compact: Callable[[int], Awaitable[None]],
        root: str,
    ) -> None:
        self.client = client
        self.compact = compact
        self.root = root
        self.store = client()


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.integration)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    root = f"/{request.node.name}/"
    clients: list[Store] = []

    def keep(store: Store) -> Store:
        clients.append(store)
        return store

    if request.param == "memory":
        state = MemoryState(LoopClock())

        async def compact(revision: int) -> None:
            state.compact(revision)

        yield Rig(lambda: keep(MemoryStore(state)), compact, root)
        await state.close()
    else:
        cluster: EtcdCluster = request.getfixturevalue("etcd_cluster")
        await cluster.ready()

        async def compact(revision: int) -> None:
            cluster.etcdctl("compact", str(revision))

        yield Rig(lambda: keep(cluster.store()), compact, root)
    for store in clients:
        await store.close()
