"""Who may do what: certificates decide who a client is, etcd's roles what it may touch."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.etcd import EtcdStore, TlsFiles
from reconciler.ports.store import (
    Delete,
    Denied,
    Put,
    Store,
    StoreError,
    Transaction,
    Unavailable,
    Unchanged,
)
from tests.integration.certificates import Authority
from tests.integration.etcd_cluster import EtcdCluster, find_program
from tests.store.watching import Watched

pytestmark = pytest.mark.integration
Open = Callable[[TlsFiles], EtcdStore]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if find_program("etcd") is None or find_program("etcdctl") is None:
        pytest.skip("etcd and etcdctl are not installed")
    cluster = EtcdCluster.start(tmp_path_factory.mktemp("etcd-auth"), size=1)
    try:
        asyncio.run(cluster.ready())
        _enable_roles(cluster)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
async def open_as(cluster: EtcdCluster) -> AsyncIterator[Open]:
    """Opens stores under a certificate; the cluster has roles: agent-n1 reads all of /c/ and
    writes /c/run/ and /c/status/n1/."""
    opened: list[EtcdStore] = []

    def open_store(tls: TlsFiles) -> EtcdStore:
        opened.append(cluster.store(tls))
        return opened[-1]

    yield open_store
    for store in opened:
        await store.close()


def _enable_roles(cluster: EtcdCluster) -> None:
    for user in ("root", "agent-n1", "nobody"):
        cluster.etcdctl("user", "add", user, "--no-password")
    cluster.etcdctl("user", "grant-role", "root", "root")
    cluster.etcdctl("role", "add", "agent")
    grant = ("role", "grant-permission", "agent", "--prefix=true")
    cluster.etcdctl(*grant, "read", "/c/")
    cluster.etcdctl(*grant, "readwrite", "/c/run/")
    cluster.etcdctl(*grant, "readwrite", "/c/status/n1/")
    cluster.etcdctl("user", "grant-role", "agent-n1", "agent")
    cluster.etcdctl("auth", "enable")


def write(key: str, value: bytes = b"1") -> Transaction:
    return Transaction((), (Put(key, value),))


async def test_an_agent_reads_all_and_writes_only_what_is_its_own(
    cluster: EtcdCluster, open_as: Open
) -> None:
    admin, agent = open_as(cluster.admin), open_as(cluster.authority.issue("agent-n1"))
    await admin.commit(write("/c/spec/head"))
    assert (await agent.get("/c/spec/head")) is not None
    assert (await agent.list("/c/")).items
    assert (await agent.commit(write("/c/status/n1/server"))).succeeded
    guarded = Transaction((Unchanged("/c/run/x", 0),), (Put("/c/run/x", b"n"),), guard="/c/run/x")
    assert (await agent.commit(guarded)).succeeded
    lease = await agent.grant(5)
    assert (await agent.keep_alive(lease.lease)).lease == lease.lease
    await agent.revoke(lease.lease)
    assert [member.is_leader for member in await agent.members()] == [True]
    for key in ("/c/spec/head", "/c/status/n2/server", "/elsewhere"):
        with pytest.raises(Denied):
            await agent.commit(write(key))
    with pytest.raises(Denied):
        await agent.commit(Transaction((), (Delete("/c/spec/", prefix=True),)))


async def read(store: Store) -> None:
    await store.get("/c/spec/head")


async def listing(store: Store) -> None:
    await store.list("/c/")


async def guarded_write(store: Store) -> None:
    await store.commit(Transaction((Unchanged("/c/a", 0),), (Put("/c/a", b"n"),), guard="/c/a"))


async def watching(store: Store) -> None:
    await Watched(store, "/c/").until(lambda w: False)


@pytest.mark.parametrize("user", ["nobody", "unknown-to-etcd"])
@pytest.mark.parametrize("act", [read, listing, guarded_write, watching])
async def test_without_permission_everything_is_denied(
    cluster: EtcdCluster, open_as: Open, user: str, act: Callable[[Store], object]
) -> None:
    store = open_as(cluster.authority.issue(user))
    with pytest.raises(Denied):
        await act(store)  # type: ignore[misc]


async def test_etcd_refuses_a_watch_by_creating_and_cancelling_it(
    cluster: EtcdCluster, open_as: Open
) -> None:
    """What the adapter has to recognise: the stream itself would stay open and silent."""
    store = open_as(cluster.authority.issue("nobody"))
    stream = store._endpoints.in_order()[0].wire().watch("/c/", 1)
    await stream.open()
    answer = await stream.read()
    assert answer.canceled
    assert "permission denied" in answer.cancel_reason
    stream.cancel()


async def test_servers_of_another_authority_are_not_trusted(
    cluster: EtcdCluster, open_as: Open, tmp_path: Path
) -> None:
    stranger = Authority.create(tmp_path / "pki").issue("root")
    with pytest.raises(Denied):
        await open_as(stranger).get("/c/spec/head")


async def test_a_client_certificate_of_another_authority_gets_nothing(
    cluster: EtcdCluster, open_as: Open, tmp_path: Path
) -> None:
    stranger = Authority.create(tmp_path / "pki").issue("root")
    half = TlsFiles(cluster.admin.ca, stranger.cert, stranger.key)
    with pytest.raises((Denied, Unavailable)):
        await open_as(half).get("/c/spec/head")


async def test_missing_certificate_files_are_named(
    cluster: EtcdCluster, open_as: Open, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="absent"):
        await open_as(TlsFiles(tmp_path / "absent", "b", "c")).get("/c/spec/head")


async def test_replaced_certificates_are_used_without_a_restart(
    cluster: EtcdCluster, open_as: Open, tmp_path: Path
) -> None:
    wrong = Authority.create(tmp_path / "pki").issue("root")
    files = TlsFiles(wrong.ca, wrong.cert, wrong.key)
    store = open_as(files)
    with pytest.raises(Denied):
        await store.get("/c/spec/head")
    for old, new in ((files.ca, cluster.admin.ca), (files.cert, cluster.admin.cert)):
        shutil.copyfile(new, old)
    shutil.copyfile(cluster.admin.key, files.key)
    watched = Watched(store, "/c/")
    await watched.until(lambda w: w.last.stale_reason is None)
    await watched.close()
