"""`clusterctl backup restore`: a new store on this server out of a backup. From commands/backup.py.

The new store gets an identity of its own, so that every agent sees that it is another one and does
nothing with it until a person says `store restored`. Nothing is deleted: the old data is moved
aside. A restore that was interrupted is repeated with the same command.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from clusterctl.bootstrap import certificates, etcd_member, first_server
from clusterctl.bootstrap.backup import Backup
from clusterctl.bootstrap.facts import Facts, read_facts, require_free
from clusterctl.bootstrap.first_server import Identity, open_admin, open_store
from clusterctl.bootstrap.layout import CLIENT_PORT, PEER_PORT, BootstrapError, Layout, write_file
from reconciler.config import load_config
from reconciler.decide.keys import Keys
from reconciler.decide.records import StoreLife
from reconciler.ports.store import Put, Store, StoreError, Transaction

BATCH_KEYS = 100
BATCH_BYTES = 1_000_000
ANSWER_S = 3.0
UNKNOWN_STORE = "of-a-backup-without-identity"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is restored, onto which server."""

    layout: Layout
    backup: Backup
    digest: str
    facts: Facts
    identity: Identity

    @property
    def keys(self) -> Keys:
        return Keys(self.facts.cluster)

    @property
    def endpoint(self) -> str:
        return etcd_member.client_url(self.identity.addresses[0])

    @property
    def marker(self) -> Path:
        return self.layout.state / "restore.json"

    def is_under_way(self) -> bool:
        """An earlier attempt with the same backup got as far as moving the data aside."""
        try:
            found = json.loads(self.marker.read_text())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and found.get("backup") == self.digest


def plan(layout: Layout, backup: Backup, server: str | None, addresses: Sequence[str]) -> Plan:
    """Check that this server can take the backup; brings back its secrets where they are gone."""
    layout.prepare()
    if not layout.key("ca").exists():
        _bring_secrets(layout, backup)
    if not layout.cluster_facts.exists():
        write_file(layout.cluster_facts, backup.files["cluster.json"])
    facts = read_facts(layout.cluster_facts)
    if facts.cluster != backup.manifest.cluster:
        raise BootstrapError(
            f"the backup is of cluster {backup.manifest.cluster}, this server belongs to "
            f"{facts.cluster}"
        )
    identity = _identity(layout, server, addresses)
    return Plan(
        layout,
        backup,
        hashlib.sha256(backup.manifest.model_dump_json().encode()).hexdigest(),
        facts,
        identity,
    )


def _bring_secrets(layout: Layout, backup: Backup) -> None:
    if not backup.manifest.has_secrets:
        raise BootstrapError(
            "this server holds no CA key, and the backup has no secrets: restore on the server "
            "that ran `clusterctl cluster init`"
        )
    for name, data in backup.files.items():
        if name.startswith("secrets/"):
            write_file(layout.configuration / name.removeprefix("secrets/"), data)


def _identity(layout: Layout, server: str | None, addresses: Sequence[str]) -> Identity:
    known = load_config(layout.agent_config).server if layout.agent_config.exists() else None
    name = server or known
    if name is None or (known is not None and name != known):
        raise BootstrapError("say which server this is: --server NAME and its --address")
    given = tuple(addresses) or _addresses(layout)
    if not given:
        raise BootstrapError("say this server's addresses: --address, the store's network first")
    return Identity(name, given)


def _addresses(layout: Layout) -> tuple[str, ...]:
    """Those that etcd listened on, the one of its peers first."""
    try:
        config = json.loads(layout.etcd_config.read_text())
        urls = [config["listen-peer-urls"], *config["listen-client-urls"].split(",")]
    except (OSError, ValueError, KeyError, AttributeError):
        return ()
    hosts = [urlsplit(url).hostname or "" for url in urls]
    return tuple(dict.fromkeys(h for h in hosts if h and h != etcd_member.LOOPBACK))


async def refuse_living_store(todo: Plan) -> None:
    """A store that answers has a quorum: it needs no backup, and must not get a rival."""
    if todo.is_under_way() or not todo.layout.agent_config.exists():
        return
    store = open_store(
        todo.layout, todo.facts.cluster, load_config(todo.layout.agent_config).endpoints
    )
    try:
        await store.get(todo.keys.head, timeout_s=ANSWER_S)
    except StoreError:
        return
    finally:
        await store.close()
    raise BootstrapError(
        "the cluster's store answers, so there is nothing to restore: for older specs use "
        "`clusterctl rollback`; to go back all the same, stop etcd on every server first"
    )


def make_room(todo: Plan) -> None:
    """Move this member's data aside and write the configuration of a new store. etcd must not
    run. Raises `BootstrapError`."""
    if todo.is_under_way():
        return
    layout = todo.layout
    require_free((*todo.identity.addresses, etcd_member.LOOPBACK), (CLIENT_PORT, PEER_PORT))
    if (layout.etcd_data / "member").exists():
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        layout.etcd_data.rename(layout.state / f"etcd.before-restore-{stamp}")
        layout.etcd_data.mkdir(mode=0o700)
    authority = certificates.stored_authority(layout)
    first_server.write_certificates(layout, authority, todo.identity)
    token = f"{todo.facts.cluster}-{secrets.token_hex(4)}"
    text = etcd_member.member_config(
        layout, todo.facts, todo.identity.server, todo.identity.addresses, None, token=token
    )
    write_file(todo.marker, json.dumps({"backup": todo.digest}) + "\n")
    # last: a supervisor may start etcd as soon as this is there
    write_file(layout.etcd_config, text)


async def fill(todo: Plan, wait_s: float) -> int:
    """Make the new store secure and put the backup into it; the number of keys. Repeatable."""
    await first_server.secure_first_server(todo.layout, todo.facts, todo.identity, wait_s)
    await _admit_agents(todo)
    store = open_store(todo.layout, todo.facts.cluster, (todo.endpoint,))
    try:
        count = await _put_all(store, todo)
    finally:
        await store.close()
    first_server.write_access(
        todo.layout, todo.facts.cluster, todo.identity.server, (todo.endpoint,)
    )
    todo.marker.unlink(missing_ok=True)
    return count


async def _admit_agents(todo: Plan) -> None:
    """The others' agents may read at once that the store is another one, and answer."""
    prefix = todo.keys.token("server-")
    admin = open_admin(todo.layout, (todo.endpoint,))
    try:
        for key in sorted(todo.backup.values):
            if key.startswith(prefix):
                await etcd_member.admit_agent(admin, todo.keys, key.removeprefix(prefix))
    finally:
        await admin.close()


async def _put_all(store: Store, todo: Plan) -> int:
    """The store's own record first: as soon as anything can be read, everybody sees that it is
    another store. The head of the specs last."""
    values, keys = dict(todo.backup.values), todo.keys
    unknown = StoreLife(store_id=UNKNOWN_STORE).to_bytes()
    first = Put(keys.store_life, values.pop(keys.store_life, unknown))
    head = values.pop(keys.head, None)
    await store.commit(Transaction((), (first,)))
    batch: list[Put] = []
    for key in sorted(values):
        size = sum(len(put.value) for put in batch) + len(values[key])
        if batch and (len(batch) >= BATCH_KEYS or size > BATCH_BYTES):
            await store.commit(Transaction((), tuple(batch)), timeout_s=10.0)
            batch = []
        batch.append(Put(key, values[key]))
    if batch:
        await store.commit(Transaction((), tuple(batch)), timeout_s=10.0)
    if head is not None:
        await store.commit(Transaction((), (Put(keys.head, head),)))
    return len(values) + 1 + (head is not None)


def set_aside(layout: Layout) -> Path | None:
    """Another server's member of the store that is no more, before it joins the new one; etcd must
    not run. Where its data went, None if there was none."""
    if not (layout.etcd_data / "member").exists():
        return None
    addresses = _addresses(layout)
    require_free((*addresses, etcd_member.LOOPBACK), (CLIENT_PORT, PEER_PORT))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = layout.state / f"etcd.before-join-{stamp}"
    # the configuration first: without it no supervisor starts etcd on the empty directory
    write_file(layout.etcd_data / "etcd.yaml", layout.etcd_config.read_bytes())
    layout.etcd_config.unlink()
    layout.etcd_data.rename(target)
    layout.etcd_data.mkdir(mode=0o700)
    return target
