"""Where a group may run, and the reason for each server.

All hard rules are here: listed in the group, in session, not suspected, not being fenced. `stable`
passes over servers where the group failed lately; nothing is ever started without a reason.
"""

from collections.abc import Sequence

from reconciler.decide.membership import Standing, named_in_slot, session_of, standing
from reconciler.decide.records import Candidate, Failure
from reconciler.decide.snapshot import Snapshot
from specs.group import GroupSpec


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


def candidates(
    snapshot: Snapshot,
    group: GroupSpec,
    *,
    failures: Sequence[Failure] = (),
    leaving: str | None = None,
    previous: str | None = None,
    by_operator: bool = False,
) -> tuple[Candidate, ...]:
    """Every listed server in order of preference, eligible ones first, each with its reason.

    `leaving` is a server that the group just gave up by itself. `previous` is the last owner: the
    rule across server groups looks at it. An operator's wish overrides failures and that rule.
    """
    recent = recent_failures(failures, group.failover.window, snapshot.wall)
    home = server_group_of(snapshot, group, previous) if previous else None
    ranked: list[tuple[tuple[int, int], Candidate]] = []
    for place, server in enumerate(listed_servers(snapshot, group)):
        away = _is_away(snapshot, group, home, server)
        obstacle = availability(snapshot, server)
        failed = next((f for f in reversed(recent) if f.server == server), None)
        if obstacle is None and not by_operator:
            if server == leaving:
                obstacle = "the group just failed there"
            elif failed is not None and group.failover.choice == "stable":
                obstacle = f"the group failed there: {failed.reason}"
            elif away and group.failover.across_server_groups == "forbid":
                obstacle = f"it is outside server group {home}"
        prefer_home = away and group.failover.across_server_groups == "prefer-same"
        reason = obstacle or f"preference {place + 1}"
        candidate = Candidate(server=server, eligible=obstacle is None, reason=reason)
        ranked.append(((int(prefer_home), place), candidate))
    ranked.sort(key=lambda item: (not item[1].eligible, item[0]))
    return tuple(candidate for _, candidate in ranked)


def _is_away(snapshot: Snapshot, group: GroupSpec, home: str | None, server: str) -> bool:
    return home is not None and server_group_of(snapshot, group, server) != home


def choose(found: Sequence[Candidate], wished: str | None = None) -> Candidate | None:
    """The first eligible candidate, or exactly the wished one if it is eligible."""
    for candidate in found:
        if candidate.eligible and (wished is None or candidate.server == wished):
            return candidate
    return None
