"""Backups: what belongs in, what a damaged one does, and the word that a store was restored."""

import stat
import tarfile
from pathlib import Path

import pytest

from clusterctl.bootstrap import backup
from clusterctl.bootstrap.layout import BootstrapError
from clusterctl.connection import Connection
from clusterctl.failure import Failure
from clusterctl.restored import Servers, next_life, require_doubt
from clusterctl.settings import Settings
from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.decide.keys import Keys
from reconciler.decide.records import StoreLife
from reconciler.decide.stored import StoredRecords
from reconciler.ports.store import KeyValue, Put, Transaction

KEYS = Keys("demo")


def manifest(files: dict[str, bytes]) -> backup.Manifest:
    return backup.Manifest(
        format=backup.FORMAT,
        cluster="demo",
        server="n1",
        revision=7,
        store_id="old",
        specs_revision=1,
        keys=1,
        created="2026-01-01T00:00:00+00:00",
        version="0",
        files=backup.digests(files),
    )


def save(path: Path, values: dict[str, bytes]) -> Path:
    items = [KeyValue(key, value, 1, 1) for key, value in values.items()]
    files = {"store.jsonl": backup.store_lines(items)}
    backup.write(path, manifest(files), files)
    return path


def test_it_holds_what_it_was_given_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    values = {KEYS.head: b"\x00\xff", KEYS.group("web"): b"{}"}
    path = save(tmp_path / "a.backup", values)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert backup.read(path).values == values
    with pytest.raises(BootstrapError, match="exists already"):
        save(path, values)
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written stays


@pytest.mark.parametrize("at", [200, 300])
def test_a_damaged_one_is_refused(tmp_path: Path, at: int) -> None:
    path = save(tmp_path / "a.backup", {KEYS.head: bytes(range(256)) * 4})
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BootstrapError):
        backup.read(path)


def test_a_cut_one_and_another_file_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.backup", {KEYS.head: bytes(range(256)) * 40})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BootstrapError, match="damaged"):
        backup.read(path)
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as tar:
        tar.add(path, "something")
    with pytest.raises(BootstrapError, match="is not a backup"):
        backup.read(other)
    with pytest.raises(BootstrapError, match="can not be read"):
        backup.read(tmp_path / "none")


async def test_words_of_running_servers_are_not_in_it() -> None:
    store = MemoryStore(MemoryState(MonotonicClock()))
    inside = {KEYS.head, KEYS.group("web"), KEYS.store_life, KEYS.token("server-n2")}
    outside = {
        KEYS.session("n1"),
        KEYS.release("web"),
        KEYS.fence("n1"),
        KEYS.operation("01"),
        KEYS.server_status("n1"),
        KEYS.event("01"),
        KEYS.token("0123"),
        KEYS.coordinator,
    }
    for key in sorted(inside | outside):
        await store.commit(Transaction((), (Put(key, b"x"),)))
    _, items = await backup.collect(store, KEYS)
    assert {item.key for item in items} == inside


# -- store restored -------------------------------------------------------------------------------


def connection(store_id: str = "new") -> Connection:
    state = MemoryState(MonotonicClock())
    state.store_id = store_id
    settings = Settings("demo", ("memory://",), None, 5.0)
    return Connection(MemoryStore(state), KEYS, settings, MonotonicClock())


def servers(**generations: int) -> Servers:
    return Servers(("n1", "n2"), (), generations)


def test_a_store_that_was_not_restored_is_refused() -> None:
    with pytest.raises(Failure, match="was not restored"):
        require_doubt(connection(), StoreLife(store_id="new"))
    require_doubt(connection(), StoreLife(store_id="old"))
    require_doubt(connection(), None)


def test_the_generation_is_above_all_that_anybody_knows() -> None:
    records = StoredRecords(store_life=StoreLife(store_id="old", generation=2))
    life = next_life(connection(), records, servers(n1=1, n2=5), (), ())
    assert (life.generation, life.doubted, life.store_id) == (6, ("n1", "n2"), "new")
    life = next_life(connection(), records, servers(n1=0, n2=0), (), ())
    assert life.generation == 3


def test_a_server_that_says_nothing_must_be_named_and_stays_in_doubt() -> None:
    with pytest.raises(Failure, match="no word from n2") as refused:
        next_life(connection(), StoredRecords(), servers(n1=0), (), ())
    assert "--without n2" in refused.value.next_command
    life = next_life(connection(), StoredRecords(), servers(n1=0), ("n2",), ())
    assert life.doubted == ("n1", "n2")


def test_a_server_without_a_spec_must_be_sworn_off() -> None:
    found = Servers(("n1",), ("n9",), {"n1": 0})
    with pytest.raises(Failure, match="n9 joined the cluster once") as refused:
        next_life(connection(), StoredRecords(), found, (), ())
    assert "--off n9" in refused.value.next_command
    assert next_life(connection(), StoredRecords(), found, (), ("n9",)).doubted == ("n1",)
    with pytest.raises(Failure, match="n1 is in the specs"):
        next_life(connection(), StoredRecords(), found, (), ("n9", "n1"))


def test_what_only_a_record_knows_belongs_in_and_who_runs_what_is_asked_again() -> None:
    wanted = [KEYS.head, KEYS.group("web"), KEYS.mirror("data"), KEYS.consent("data")]
    assert all(backup.belongs(KEYS, key) for key in wanted)
    others = [KEYS.session("n1"), KEYS.release("web"), KEYS.fence("n1"), KEYS.hold("n1")]
    assert not any(backup.belongs(KEYS, key) for key in others)
