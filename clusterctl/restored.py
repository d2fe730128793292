"""What `store restored` does: the next generation of epochs, and every server in doubt.

After it no group runs until each server is proven to run nothing of before; see
`reconciler.decide.store_life`. Used by commands/store.py.
"""

import asyncio
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clusterctl.connection import Connection
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.operations import who
from clusterctl.picture import close, read_run
from reconciler.decide.records import StoreLife
from reconciler.decide.store_life import LAST_GENERATION
from reconciler.decide.stored import StoredRecords
from reconciler.ports.store import Delete, Put, Transaction, Unchanged

ASK_EVERY_S = 0.3
STALE_PREFIXES = ("operations/", "challenges/", "answers/")


@dataclass(frozen=True, slots=True)
class Servers:
    """`specified` are in the specs; `others` joined or own something, but have no spec."""

    specified: tuple[str, ...]
    others: tuple[str, ...]
    generations: dict[str, int]

    @property
    def silent(self) -> tuple[str, ...]:
        return tuple(name for name in self.specified if name not in self.generations)


async def find_servers(connection: Connection, records: StoredRecords) -> Servers:
    """All that may run something, and the generation that each of them says it knew."""
    objects = (await connection.repository.read()).objects
    specified = sorted(name.split("/", 1)[1] for name in objects if name.startswith("Server/"))
    prefix = connection.keys.token("server-")
    joined = {item.key.removeprefix(prefix) for item in (await connection.store.list(prefix)).items}
    owners = {own.owner for own in records.groups.values() if own.owner}
    here = connection.store.store_id
    told = {
        name: status.store_generation
        for name, status in records.server_status.items()
        if status.store_id == here
    }
    return Servers(tuple(specified), tuple(sorted((joined | owners) - set(specified))), told)


async def wait_for_servers(
    connection: Connection, without: Collection[str], timeout_s: float
) -> tuple[StoredRecords, Servers]:
    """Until every server but `without` has said what it knew, or the time is over."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        records = await read_run(connection)
        servers = await find_servers(connection, records)
        over = asyncio.get_running_loop().time() > deadline
        if over or not set(servers.silent) - set(without):
            return records, servers
        await asyncio.sleep(ASK_EVERY_S)


def require_doubt(connection: Connection, life: StoreLife | None) -> None:
    """Raises `Failure` (5) when the store is the one that its records belong to."""
    if life is None or life.store_id != connection.store.store_id:
        return
    raise Failure(
        "refused: this store was not restored since it was last said. A store is restored with "
        "`clusterctl backup restore`, which gives it a new identity",
        ExitCode.REFUSED,
        "clusterctl status",
    )


def next_life(
    connection: Connection,
    records: StoredRecords,
    servers: Servers,
    without: Sequence[str],
    off: Sequence[str],
) -> StoreLife:
    """The record to write. Raises `Failure` when somebody is missing whom nobody named."""
    unasked = [name for name in servers.silent if name not in without]
    if unasked:
        names = " ".join(f"--without {name}" for name in (*without, *unasked))
        raise Failure(
            f"no word from {', '.join(unasked)}, which may know more than this store",
            ExitCode.REFUSED,
            f"start their agents, or: clusterctl store restored {names}",
        )
    known = [name for name in off if name in servers.specified]
    if known:
        raise Failure(
            f"{known[0]} is in the specs: its power is for its fence device to prove, or after "
            "this for a person",
            ExitCode.USAGE,
            f"clusterctl fence confirm {known[0]}",
        )
    unsworn = [name for name in servers.others if name not in off]
    if unsworn:
        names = " ".join(f"--off {name}" for name in servers.others)
        raise Failure(
            f"{', '.join(unsworn)} joined the cluster once, but has no spec, so nobody can hear "
            "or fence it",
            ExitCode.REFUSED,
            f"power it off, then: clusterctl store restored {names}",
        )
    before = records.store_life.generation if records.store_life else 0
    generation = max([before, *servers.generations.values()]) + 1
    if generation > LAST_GENERATION:
        raise Failure("the store was restored too often: begin a new cluster", ExitCode.FAILED)
    return StoreLife(
        nonce=secrets.token_hex(8),
        store_id=connection.store.store_id,
        generation=generation,
        doubted=servers.specified,
        who=who(),
        restored_wall=connection.clock.wall(),
    )


async def say(connection: Connection, life: StoreLife) -> None:
    """Store it, with nothing left of wishes that somebody had before. Raises `Failure` (4)."""
    keys, store = connection.keys, connection.store
    found = await store.get(keys.store_life)
    stale = [Delete(keys.run + part, prefix=True) for part in STALE_PREFIXES]
    transaction = Transaction(
        (Unchanged(keys.store_life, found.mod_revision if found else 0),),
        (Put(keys.store_life, life.to_bytes()), Delete(keys.fence_slot), *stale),
        guard=keys.store_life,
    )
    result = await store.commit(transaction, timeout_s=connection.settings.timeout_s)
    if not result.succeeded:
        raise Failure("somebody else said it at the same moment", ExitCode.CONFLICT)


async def until_proven(connection: Connection, timeout_s: float) -> tuple[str, ...]:
    """Servers that are still in doubt when the time is over; empty as soon as none is."""
    left: tuple[str, ...] = ()
    batches = connection.store.watch(connection.keys.store_life)
    try:
        async with asyncio.timeout(timeout_s):
            async for batch in batches:
                for _, item in batch.changes:
                    left = StoreLife.from_bytes(item.value).doubted if item else left
                    if item is not None and not left:
                        return ()
    except TimeoutError:
        return left
    finally:
        await close(batches)
    return left
