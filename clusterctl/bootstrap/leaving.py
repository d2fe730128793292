"""`cluster leave`: a server leaves for good. The steps of joining, backwards.

Its spec goes first, then its vote in the store, then what its agent's certificate opens, and at the
end the record of its joining. Each step leaves alone what is done, so it may be repeated.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clusterctl.bootstrap.certificates import agent_user
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.objects import Ref
from clusterctl.operations import who
from clusterctl.picture import read_head, read_run
from reconciler.adapters.etcd.admin import EtcdAdmin
from reconciler.decide.stored import StoredRecords
from reconciler.ports.store import Delete, MemberHealth, Transaction

if TYPE_CHECKING:
    from clusterctl.connection import Connection
    from clusterctl.settings import Tls
    from specs.load import TypeCatalogue

STOP = "systemctl disable --now clusterctl-drain clusterctl-agent"

Tell = Callable[[str], None]
"""Gets a sentence for each step that was done."""


def open_admin(endpoints: tuple[str, ...], tls: "Tls | None") -> EtcdAdmin:
    """The store's administration with the context's certificate. Raises `Failure`."""
    if tls is None:
        raise Failure("this needs the administrator's certificate", ExitCode.USAGE)
    try:
        files = [Path(name).read_bytes() for name in (tls.ca, tls.cert, tls.key)]
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}", ExitCode.USAGE) from None
    return EtcdAdmin(endpoints, *files)


async def leave(
    connection: "Connection", admin: EtcdAdmin, types: "TypeCatalogue", server: str, tell: Tell
) -> int:
    """Remove the server; returns how many members the store has left. Raises `Failure` (5) while
    it runs something, its agent is there, or the store needs its vote; and `StoreError`."""
    record = connection.keys.token(f"server-{server}")
    joined = await connection.store.get(record)
    names = {member.name for member in await admin.members()}
    _, stored = await read_head(connection)
    ref = Ref("Server", server)
    if joined is None:
        if not names & {server} and str(ref) not in stored.objects:
            raise Failure(f"there is no server {server}", ExitCode.USAGE, "clusterctl get servers")
        text = f"refused: {server} did not join, it began the cluster: the CA's key is there"
        raise Failure(text, ExitCode.REFUSED, "clusterctl cluster --help")
    refuse_needed(server, await read_run(connection))
    health = await connection.store.members(timeout_s=connection.settings.timeout_s)
    left = members_left(server, names, health)
    if str(ref) in stored.objects:
        await _forget_spec(connection, types, ref)
        tell(f"server/{server} is removed from the specs")
    for member in await admin.members():
        if member.name == server:
            await admin.remove(member.member_id)
            tell(f"its etcd is no member of the store any more; {left} are left")
    await admin.remove_user(agent_user(server))
    tell("its agent's certificate opens nothing any more")
    status = Delete(f"{connection.keys.status}{server}/", prefix=True)
    run = [connection.keys.cordon(server), connection.keys.hold(server)]
    operations = (status, *(Delete(key) for key in (*run, record)))
    await connection.store.commit(Transaction((), operations), timeout_s=5.0)
    tell("it may join again only with a new token")
    return left


def refuse_needed(server: str, records: StoredRecords) -> None:
    """Raises `Failure` (5) with the next command while it is a part of what runs."""
    owned = _owned(server, records)
    if owned:
        text = f"refused: {server} owns {', '.join(owned)}"
        raise Failure(text, ExitCode.REFUSED, f"clusterctl drain {server}")
    if records.store_life is not None and server in records.store_life.doubted:
        text = f"refused: not proven yet that nothing from before the restore runs on {server}"
        raise Failure(text, ExitCode.REFUSED, f"clusterctl fence confirm {server}")
    if server in records.sessions:
        text = f"refused: the agent of {server} is there"
        raise Failure(text, ExitCode.REFUSED, f"on {server}: {STOP}; then repeat this")


def _owned(server: str, records: StoredRecords) -> list[str]:
    """Groups that it may still run: neither given up nor proven off."""
    fence = records.fences.get(server)
    found = []
    for name, own in sorted(records.groups.items()):
        release = records.releases.get(name)
        given_up = release is not None and release.epoch == own.epoch
        proven = fence is not None and fence.proof_for(own.boot_id) is not None
        if own.owner == server and not (given_up or proven):
            found.append(name)
    return found


def members_left(server: str, names: set[str], health: tuple[MemberHealth, ...]) -> int:
    """Members of the store without it. Raises `Failure` (5) when too few of them answer."""
    others = [member for member in health if member.server != server]
    answering = sum(member.reachable for member in others)
    if server in names and answering * 2 <= len(others):
        text = (
            f"refused: without {server} the store has {len(others)} members, of which "
            f"{answering} answer: it would lose its quorum"
        )
        raise Failure(text, ExitCode.REFUSED, "clusterctl status")
    return len(others)


async def _forget_spec(connection: "Connection", types: "TypeCatalogue", ref: Ref) -> None:
    """As `clusterctl delete` does. Raises `Failure` while another object names it."""
    from clusterctl.changes import removal
    from specs.spec_set import ObjectRef

    head, stored = await read_head(connection)
    removal(stored, types, ObjectRef(ref.kind, ref.name))
    await connection.repository.apply(
        {},
        source=stored.objects[str(ref)].source,
        author=who(),
        message=f"{ref.name} leaves the cluster",
        expected_head=head,
        remove={str(ref)},
    )
