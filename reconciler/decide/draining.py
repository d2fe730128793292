"""Servers that take no groups: drained by an operator, or being shut down in order.

A cordon is kept in the store, not in specs, and ends by `undrain`, or with the boot that it is for.
"""

from reconciler.decide.actions import Write
from reconciler.decide.keys import Keys
from reconciler.decide.membership import session_of, unreadable
from reconciler.decide.records import Cordon, Operation
from reconciler.decide.snapshot import Snapshot, Stored

DRAINED_PREFIX = "drained: "


def cordon_of(snapshot: Snapshot, server: str) -> Cordon | None:
    """The cordon that holds for this server now."""
    stored = snapshot.cordons.get(server)
    if stored is None or _is_over(snapshot, stored.record):
        return None
    return stored.record


def _is_over(snapshot: Snapshot, cordon: Cordon) -> bool:
    """It was for one boot, and the server has started again since."""
    session = snapshot.sessions.get(cordon.server)
    newer = session is not None and session.record.boot_id != cordon.boot_id
    return bool(cordon.boot_id) and newer


def is_leaving(snapshot: Snapshot, server: str) -> bool:
    """It is being shut down in order: that it falls silent is no reason to fence it, as long as
    it owns nothing."""
    cordon = cordon_of(snapshot, server)
    return cordon is not None and bool(cordon.boot_id)


def groups_on(snapshot: Snapshot, server: str) -> list[str]:
    """Groups that this server owns and has not released."""
    found = []
    for name, stored in sorted(snapshot.ownerships.items()):
        release = snapshot.releases.get(name)
        gone = release is not None and release.record.epoch == stored.record.epoch
        if stored.record.owner == server and not gone:
            found.append(name)
    return found


def plan_cordon(snapshot: Snapshot, keys: Keys, operation: Operation) -> Write | None:
    """The record that a wish to drain needs and that is not there yet."""
    server = operation.target.removeprefix("server/")
    stored = snapshot.cordons.get(server)
    wanted = operation.boot_id or ""
    if stored is not None and stored.record.boot_id in ("", wanted):
        return None
    if unreadable(snapshot, keys.cordon(server)) is not None:
        return None
    record = Cordon(
        server=server,
        boot_id=wanted,
        who=operation.who,
        why=operation.why,
        since_wall=snapshot.wall,
    )
    return Write(keys.cordon(server), record, stored.mod_revision if stored else 0)


def drain_result(snapshot: Snapshot, server: str) -> tuple[bool, str] | None:
    """(ok, sentence) once nothing is left to wait for."""
    left = groups_on(snapshot, server)
    session = session_of(snapshot, server)
    if not left:
        return True, f"{server} runs no group and takes none"
    if session is None:
        return False, f"{server} is not here; {', '.join(left)} stays with it"
    verdicts = [snapshot.verdicts.get(name) for name in left]
    stuck = [
        v.record.group
        for v in verdicts
        if v is not None and any(r.startswith(DRAINED_PREFIX) for r in v.record.reasons)
    ]
    if stuck and len(stuck) == len(left):
        text = f"no other server can run {', '.join(stuck)}: it stays on {server}"
        return False, f"{text}, which takes no other group"
    return None


def end_of_cordons(snapshot: Snapshot, keys: Keys) -> list[Write]:
    """Cordons of boots that are over, and of servers that are no more."""
    return [
        Write(keys.cordon(name), None, stored.mod_revision)
        for name, stored in sorted(snapshot.cordons.items())
        if _is_over(snapshot, stored.record) or name not in snapshot.specs.servers
    ]


def undrain_write(keys: Keys, server: str, stored: Stored[Cordon] | None) -> Write | None:
    return Write(keys.cordon(server), None, stored.mod_revision) if stored else None
