"""Where a group may run, and the reason for each server.

Hard rules first: listed in the group, in session, not suspected, not being fenced, with all data of
its mirrored disks, not shared against a required exclusion, and for `stable` no recent failure
there. What is left is ordered by healthy monitors, the old owner's server group, exclusion, for
`dynamic` fewest groups, the list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.decide.copies import missing_copies
from reconciler.decide.draining import cordon_of
from reconciler.decide.holding import clock_time, hold_of
from reconciler.decide.membership import Standing, named_in_slot, session_of, standing
from reconciler.decide.records import Candidate, Failure, MonitorState
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import held_back
from specs.group import GroupSpec

EXCLUSIVE = ("prefer", "require")


@dataclass(frozen=True, slots=True)
class Placing:
    """What the choice for one group rests on, besides the servers themselves.

    `planned` is the owner of each group as it will be after this decision; None: as stored.
    `leaving` is a server that the group just gave up by itself, `previous` the last owner: the
    rule across server groups looks at it. An operator's wish overrides failures and that rule.
    `failover` lets `dynamic` balance. `spotless`: a server with a faulty monitor is no help.
    """

    planned: Mapping[str, str] | None = None
    failures: Sequence[Failure] = ()
    leaving: str | None = None
    previous: str | None = None
    by_operator: bool = False
    failover: bool = False
    spotless: bool = False


def listed_servers(snapshot: Snapshot, group: GroupSpec) -> list[str]:
    """The group's servers, the preferred ones first; without a list all servers by name."""
    if group.servers is not None:
        return list(dict.fromkeys(group.servers))
    if group.server_groups is not None:
        found: list[str] = []
        for name in group.server_groups:
            server_group = snapshot.specs.server_groups.get(name)
            found.extend(server_group.spec.servers if server_group else ())
        return list(dict.fromkeys(found))
    return sorted(snapshot.specs.servers)


def server_group_of(snapshot: Snapshot, group: GroupSpec, server: str) -> str | None:
    """The first of the group's server groups that holds this server."""
    for name in group.server_groups or ():
        server_group = snapshot.specs.server_groups.get(name)
        if server_group is not None and server in server_group.spec.servers:
            return name
    return None


def recent_failures(
    failures: Sequence[Failure], window_s: float, now_wall: float
) -> tuple[Failure, ...]:
    return tuple(f for f in failures if now_wall - f.at_wall < window_s)


def availability(snapshot: Snapshot, server: str) -> str | None:
    """Why nothing can be placed on this server now; None if something can."""
    if server not in snapshot.specs.servers:
        return "there is no such server"
    if named_in_slot(snapshot, server):
        return "it is being fenced"
    if (hold := hold_of(snapshot, server)) is not None:
        return f"its agent is on hold until {clock_time(hold.until_wall)}"
    if (cordon := cordon_of(snapshot, server)) is not None:
        return "it gave its groups away until its next boot" if cordon.boot_id else "it is drained"
    if server == snapshot.me and not snapshot.peers.pulse_alive:
        return "its pulse is not running"
    where = standing(snapshot, server)
    if where is not Standing.ONLINE:
        return f"it is {where.value}"
    peer = snapshot.peers.peers.get(server)
    session = session_of(snapshot, server)
    if (
        server != snapshot.me
        and peer is not None
        and session is not None
        and peer.boot_id is not None
        and peer.boot_id != session.record.boot_id
    ):
        return "it has been restarted and has no session yet"
    return None


def owners(snapshot: Snapshot) -> dict[str, str]:
    """Owner of each group as stored; a group that is being released is still there."""
    return {
        name: stored.record.owner
        for name, stored in sorted(snapshot.ownerships.items())
        if stored.record.owner is not None
    }


def candidates(snapshot: Snapshot, group: str, placing: Placing) -> tuple[Candidate, ...]:
    """Every listed server in order of preference, eligible ones first, each with its reason."""
    spec = snapshot.specs.groups[group].spec
    planned = owners(snapshot) if placing.planned is None else placing.planned
    others = {name: server for name, server in planned.items() if name != group}
    home = server_group_of(snapshot, spec, placing.previous) if placing.previous else None
    dynamic = spec.failover.mode == "dynamic"
    watched = dynamic or spec.failover.choice == "stable"
    sick = faulty_monitors(snapshot, group) if watched else {}
    ranked: list[tuple[tuple[int, ...], Candidate]] = []
    listed = listed_servers(snapshot, spec)
    lacking = missing_copies(snapshot, group, listed)
    for place, server in enumerate(listed):
        away = home is not None and server_group_of(snapshot, spec, server) != home
        faulty = sick.get(server)
        shared = _shared_with(snapshot, spec, others, server)
        load = sum(owner == server for owner in others.values()) if dynamic else 0
        obstacle = availability(snapshot, server)
        if obstacle is None and server in lacking:
            obstacle = str(lacking[server])
        asked = placing.by_operator
        obstacle = obstacle or held_back(snapshot, group, server, others, by_operator=asked)
        obstacle = obstacle or _obstacle(snapshot, group, placing, server, others, faulty)
        if obstacle is None and away and not placing.by_operator:
            forbid = spec.failover.across_server_groups == "forbid"
            obstacle = f"it is outside server group {home}" if forbid else None
        rank = (
            int(obstacle is not None),
            int(faulty is not None),
            int(away and spec.failover.across_server_groups == "prefer-same"),
            int(shared is not None),
            load if placing.failover else 0,
            place,
        )
        reason = obstacle or "; ".join(
            text
            for text in (
                f"preference {place + 1}",
                f"runs {load} other group{'' if load == 1 else 's'}" if dynamic else "",
                f"but {faulty}" if faulty else "",
                f"but shared with group {shared}" if shared else "",
            )
            if text
        )
        ranked.append((rank, Candidate(server=server, eligible=obstacle is None, reason=reason)))
    ranked.sort(key=lambda item: item[0])
    return tuple(candidate for _, candidate in ranked)


def _obstacle(
    snapshot: Snapshot,
    group: str,
    placing: Placing,
    server: str,
    others: Mapping[str, str],
    faulty: str | None,
) -> str | None:
    """Why the group cannot be placed on a server that is there and has its data, whatever else
    there is to choose from."""
    spec = snapshot.specs.groups[group].spec
    if spec.exclusion == "require":
        for name, owner in sorted(others.items()):
            if owner == server and _exclusion(snapshot, name) == "require":
                return f"group {name} has it for itself (exclusion)"
    if placing.by_operator:
        return None
    if server == placing.leaving:
        return "the group just failed there"
    recent = recent_failures(placing.failures, spec.failover.window, snapshot.wall)
    failed = next((f for f in reversed(recent) if f.server == server), None)
    if failed is not None and spec.failover.choice == "stable":
        return f"the group failed there: {failed.reason}"
    return faulty if placing.spotless else None


def faulty_monitors(snapshot: Snapshot, group: str) -> dict[str, str]:
    """For each server a sentence about the first monitor of this group, or of the server, that is
    faulty there."""
    targets = {f"group/{group}", "all-groups", "server"}
    targets |= {f"resource/{name}" for name in snapshot.specs.resources_of(group)}
    found: dict[str, str] = {}
    bad = (MonitorState.FAULTY, MonitorState.PARKED)
    where = [key for key, status in snapshot.monitor_status.items() if status.state in bad]
    for server, name in sorted(where):
        status = snapshot.monitor_status[server, name]
        monitor = snapshot.specs.monitors.get(name)
        if monitor is not None and monitor.spec.target in targets:
            told = f": {status.reason}" if status.reason else ""
            found.setdefault(server, f"monitor {name} is {status.state.value} there{told}")
    return found


def _exclusion(snapshot: Snapshot, group: str) -> str:
    found = snapshot.specs.groups.get(group)
    return found.spec.exclusion if found else "none"


def rivals(snapshot: Snapshot, group: str) -> tuple[str, ...]:
    """Groups that must not share a server with this one: where they are is what its grant rests
    on."""
    if _exclusion(snapshot, group) != "require":
        return ()
    others = (name for name in sorted(snapshot.specs.groups) if name != group)
    return tuple(name for name in others if _exclusion(snapshot, name) == "require")


def _shared_with(
    snapshot: Snapshot, spec: GroupSpec, others: Mapping[str, str], server: str
) -> str | None:
    if spec.exclusion not in EXCLUSIVE:
        return None
    for name, owner in sorted(others.items()):
        if owner == server and _exclusion(snapshot, name) in EXCLUSIVE:
            return name
    return None


def choose(found: Sequence[Candidate], wished: str | None = None) -> Candidate | None:
    """The first eligible candidate, or exactly the wished one if it is eligible."""
    for candidate in found:
        if candidate.eligible and (wished is None or candidate.server == wished):
            return candidate
    return None
