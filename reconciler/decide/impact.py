"""What an apply would do to what runs, told before it is applied: the agents' own decisions, made
on the records of now with the new specs, until nothing changes any more.

Called by `clusterctl diff`. Who is heard is taken from the sessions: a forecast, never a proof.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from reconciler.decide.decide import decide
from reconciler.decide.hearing import PathView, PeersView, PeerView
from reconciler.decide.keys import Keys
from reconciler.decide.ordering import Ordered, OrderError, dependencies
from reconciler.decide.records import Ownership, Record, Release, ResourceStatus, Verdict
from reconciler.decide.snapshot import OwnSession, Snapshot, Specs, Stored
from reconciler.decide.stored import StoredRecords
from specs.diff import disturbs
from specs.resource import Resource
from specs.scalars import format_size

R = TypeVar("R", bound=Record)

LONG_AGO = -1e6
ROUNDS = 12
DEFAULT_LEVEL = 60


@dataclass(frozen=True, slots=True)
class Impact:
    """What would happen to a group. `about_ms` is how long its services would be away, as far as
    their last starts and stops tell; None when nothing is known."""

    group: str
    text: str
    about_ms: float | None = None


def preview(records: StoredRecords, old: Specs, new: Specs, wall: float) -> tuple[Impact, ...]:
    """By group; what would happen without the apply too is left out. Empty while nobody is in
    session: then nobody decides."""
    before, after = _settled(records, old, wall), _settled(records, new, wall)
    found: list[Impact] = []
    for group in sorted({*old.groups, *new.groups}):
        now = records.groups.get(group)
        was, will = before.get(group), after.get(group)
        moved = _moved(group, now, was, will)
        if moved is not None:
            found.append(replace(moved, about_ms=_whole(records, group, now)))
        elif now is not None and now.owner is not None:
            found.extend(_restarted(records, group, now, old, new))
    return tuple(found)


def _moved(
    group: str, now: Ownership | None, was: Ownership | None, will: Ownership | None
) -> Impact | None:
    here = now.owner if now else None
    there = will.owner if will else None
    if there == (was.owner if was else None) or there == here:
        return None
    if here is None:
        return Impact(group, f"starts on {there}")
    if there is None:
        why = f": {will.cause}" if will is not None and will.cause else ""
        return Impact(group, f"stops on {here} and starts nowhere{why}")
    return Impact(group, f"moves from {here} to {there}")


def _restarted(
    records: StoredRecords, group: str, now: Ownership, old: Specs, new: Specs
) -> list[Impact]:
    """Resources that stop or start in place, with what depends on them."""
    before, after = old.resources_of(group), new.resources_of(group)
    stopped = set(now.stopped_resources)
    changed = {n for n in before if n in after and disturbs(before[n], after[n])}
    again = [n for n in _with_dependents(changed, after) if n in before and n not in stopped]
    found = []
    if gone := sorted(set(before) - set(after)):
        found.append(Impact(group, f"{', '.join(gone)} stops on {now.owner}"))
    if again:
        away = _away_ms(records, group, now, again)
        found.append(Impact(group, f"{', '.join(again)} restarts on {now.owner}", away))
    found += [Impact(group, text) for text in _grown(before, after, again)]
    if fresh := sorted(set(after) - set(before)):
        found.append(Impact(group, f"{', '.join(fresh)} starts on {now.owner}"))
    return found


def _grown(
    before: Mapping[str, Resource], after: Mapping[str, Resource], again: list[str]
) -> Iterator[str]:
    """Mirrored disks that become larger; those that restart do it then."""
    for name in sorted(set(before) & set(after)):
        was, now = before[name].spec.mirror(), after[name].spec.mirror()
        if was is not None and now is not None and was.size < now.size:
            how = "with its restart" if name in again else "while it is used"
            yield f"{name} grows from {format_size(was.size)} to {format_size(now.size)}, {how}"


def _with_dependents(names: set[str], resources: Mapping[str, Resource]) -> list[str]:
    ordered = {
        name: Ordered(
            int(getattr(resource.spec, "level", DEFAULT_LEVEL)), resource.spec.depends_on
        ).within(set(resources))
        for name, resource in resources.items()
    }
    try:
        needs = dependencies(ordered)
    except OrderError:
        return sorted(names)
    chosen = set(names)
    while more := {name for name, on in needs.items() if on & chosen} - chosen:
        chosen |= more
    return sorted(chosen)


# -- how long ------------------------------------------------------------------------------------


def _measured(records: StoredRecords, group: str, now: Ownership) -> tuple[ResourceStatus, ...]:
    status = records.group_status.get((now.owner or "", group))
    return status.resources if status is not None else ()


def _away_ms(records: StoredRecords, group: str, now: Ownership, names: list[str]) -> float | None:
    found = [one for one in _measured(records, group, now) if one.name in names]
    starts = [one.start_ms for one in found if one.start_ms is not None]
    if not starts:
        return None
    return sum(starts) + sum(one.stop_ms or 0.0 for one in found)


def _whole(records: StoredRecords, group: str, now: Ownership | None) -> float | None:
    if now is None or now.owner is None:
        return None
    status = records.group_status.get((now.owner, group))
    if status is None or status.start_ms is None:
        return None
    return status.start_ms + (status.stop_ms or 0.0)


# -- deciding ahead ------------------------------------------------------------------------------


def _settled(records: StoredRecords, specs: Specs, wall: float) -> dict[str, Ownership]:
    """Ownership of each group once everything that follows by itself has happened."""
    snapshot = _as_coordinator(records, specs, wall)
    if snapshot is None:
        return dict(records.groups)
    keys = Keys(specs.cluster.metadata.name)
    for number in range(2, ROUNDS + 2):
        owned, verdicts = dict(snapshot.ownerships), dict(snapshot.verdicts)
        releases = dict(snapshot.releases)
        for write in decide(snapshot).writes:
            if isinstance(write.record, Ownership):
                owned[write.record.group] = Stored(write.record, number, snapshot.now)
            elif isinstance(write.record, Verdict):
                verdicts[write.record.group] = Stored(write.record, number, snapshot.now)
        for name, stored in owned.items():
            record = stored.record
            if record.owner is not None and record.releasing:
                release = Release(
                    group=name,
                    epoch=record.epoch,
                    server=record.owner,
                    boot_id=record.boot_id,
                    cause=record.cause,
                )
                releases[name] = Stored(release, number, snapshot.now)
        known = {keys.group(n): s.record for n, s in snapshot.ownerships.items()}
        if {keys.group(n): s.record for n, s in owned.items()} == known:
            break
        snapshot = replace(snapshot, ownerships=owned, releases=releases, verdicts=verdicts)
    return {name: stored.record for name, stored in snapshot.ownerships.items()}


def _as_coordinator(records: StoredRecords, specs: Specs, wall: float) -> Snapshot | None:
    """What the coordinator sees when everybody in session is heard and well."""
    leader = records.coordinator.server if records.coordinator else ""
    me = leader if leader in records.sessions else next(iter(sorted(records.sessions)), None)
    if me is None:
        return None
    mine = records.sessions[me]
    peers = {}
    for name in specs.servers:
        session = records.sessions.get(name)
        heard_at = 0.0 if session is not None else None
        missed = 0 if session is not None else 10_000
        away = session is None
        boot_id = session.boot_id if session is not None else None
        path = {"forecast": PathView(heard_at, missed)}
        if name != me:
            peers[name] = PeerView(name, path, heard_at, away, away, boot_id)
    return Snapshot(
        now=0.0,
        wall=wall,
        me=me,
        boot_id=mine.boot_id,
        specs=specs,
        peers=PeersView(taken_at=0.0, peers=peers, pulse_alive=True),
        own_session=OwnSession(mine.incarnation, mine.lease, 1, 1.0),
        fresh_at=0.0,
        proof_at=0.0,
        sessions=_stored(records.sessions),
        coordinator=Stored(records.coordinator, 1, LONG_AGO) if records.coordinator else None,
        ownerships=_stored(records.groups),
        releases=_stored(records.releases),
        fences=_stored(records.fences),
        verdicts=_stored(records.verdicts),
        group_status=records.group_status,
        monitor_status=records.monitor_status,
        cordons=_stored(records.cordons),
        holds=_stored(records.holds),
        mirrors=_stored(records.mirrors),
        mirror_status=records.mirror_status,
    )


def _stored(records: Mapping[str, R]) -> dict[str, Stored[R]]:
    return {name: Stored(record, 1, LONG_AGO) for name, record in records.items()}
