"""Why a group is being started or stopped on this server, and the variables that tell scripts so.

Called by the drivers of scripts through `plugin.Place`, by the loop of standby hooks and by the
recovery of monitors. Two older names are given for each variable, so that existing scripts of
other cluster products run unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.decide.group_case import FAILED_PREFIX, RESTARTED
from reconciler.decide.records import Operation, OperationKind, Ownership, Phase, Proof
from reconciler.decide.snapshot import Snapshot

START, FAILOVER, RECOVER = "START", "FAILOVER", "RECOVER"
TEXT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`event` is START, FAILOVER or RECOVER; `factor` why it stops, if it does. `servers` are
    those of the group, the preferred ones first."""

    cluster: str = ""
    event: str = START
    factor: str = ""
    owner: str = ""
    previous_owner: str = ""
    cause: str = ""
    servers: tuple[str, ...] = ()


def circumstances(snapshot: Snapshot | None, group: str, resource: str = "") -> Circumstances:
    """What is known now; without any specs or record everything is as at a first start."""
    if snapshot is None:
        return Circumstances()
    stored = snapshot.ownerships.get(group)
    record = stored.record if stored else Ownership(group=group, epoch=0)
    local = snapshot.local_groups.get(group)
    in_place = local is not None and local.phase is Phase.ONLINE and local.epoch == record.epoch
    stopping = local is not None and local.phase in (Phase.STOPPING, Phase.FAILED)
    return Circumstances(
        cluster=snapshot.specs.cluster.metadata.name,
        event=START if in_place else event_of(record),
        factor=_factor(snapshot, record, resource, in_place) if in_place or stopping else "",
        owner=record.owner or "",
        previous_owner=record.previous_owner or "",
        cause=record.cause,
        servers=listed_servers(snapshot, group),
    )


def event_of(record: Ownership) -> str:
    """FAILOVER when the owner before could not go on; a wish of a person is a START."""
    if record.operation or record.previous_owner in (None, record.owner):
        return START
    failed = record.cause.startswith(FAILED_PREFIX) or record.cause == RESTARTED
    return FAILOVER if failed or record.proof in (Proof.FENCED, Proof.CONFIRMED) else START


def _factor(snapshot: Snapshot, record: Ownership, resource: str, in_place: bool) -> str:
    if in_place and record.owner == snapshot.me and not record.releasing:
        return "RESOURCESTOP" if resource in record.stopped_resources else "RESOURCERESTART"
    operation = _operation(snapshot, record)
    if operation is not None and operation.kind is OperationKind.MOVE:
        return "GROUPMOVE"
    if record.owner == snapshot.me and record.releasing:
        # A failback and a changed list of servers move it too.
        return "GROUPSTOP" if record.wanted.value == "offline" else "GROUPMOVE"
    return "GROUPFAILOVER"


def _operation(snapshot: Snapshot, record: Ownership) -> Operation | None:
    stored = snapshot.operations.get(record.operation)
    return stored.record if stored else None


def listed_servers(snapshot: Snapshot, group: str) -> tuple[str, ...]:
    found = snapshot.specs.groups.get(group)
    if found is None:
        return ()
    if found.spec.servers is not None:
        return tuple(found.spec.servers)
    if found.spec.server_groups is not None:
        known = (snapshot.specs.server_groups.get(name) for name in found.spec.server_groups)
        return tuple(dict.fromkeys(s for one in known if one for s in one.spec.servers))
    return tuple(sorted(snapshot.specs.servers))


def script_variables(
    found: Circumstances, *, group: str, resource: str, server: str, epoch: int, action: str
) -> dict[str, str]:
    """Environment of a script. `action`: start, stop, status, standby-start, standby-stop."""
    priority = found.servers.index(server) + 1 if server in found.servers else 0
    # What is stopped in the middle of a start is started again.
    factor = (found.factor or "RESOURCERESTART") if action.endswith("stop") else ""
    older = {
        "EVENT": found.event,
        "FACTOR": factor,
        "LASTACTION": "NONE" if factor else "",
        "SERVER": "HOME" if priority == 1 else "OTHER",
        "SERVER_PREV": found.previous_owner,
        "PRIORITY": str(priority or ""),
        "DISK": "SUCCESS",
        "GROUPNAME": group,
        "RESOURCENAME": resource,
        "CLUSTERNAME": found.cluster,
        "OSNAME": "Linux",
    }
    own = {
        "NAME": found.cluster,
        "ACTION": action,
        "EVENT": found.event.lower(),
        "FACTOR": factor.lower(),
        "CAUSE": found.cause,
        "GROUP": group,
        "RESOURCE": resource,
        "SERVER": server,
        "OWNER": found.owner,
        "PREVIOUS_OWNER": found.previous_owner,
        "PRIORITY": str(priority or ""),
        "EPOCH": str(epoch),
    }
    return with_older_names(own, older)


def with_older_names(own: Mapping[str, str], older: Mapping[str, str]) -> dict[str, str]:
    """CLUSTER_*, CLP_* and ARMS_*; texts are cut to what an environment may hold."""
    given = {f"CLUSTER_{name}": text for name, text in own.items()}
    for prefix in ("CLP", "ARMS"):
        given |= {f"{prefix}_{name}": text for name, text in older.items()}
    return {name: text.replace("\0", " ")[:TEXT_LIMIT] for name, text in given.items()}
