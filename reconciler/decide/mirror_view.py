"""One mirrored disk as people see it: what each side says, what the record says, and the sum.

Called by `clusterctl mirror`, `status` and monitors. Pure; nothing is decided by it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from reconciler.decide.mirror_status import MirrorCheck, MirrorStatus
from reconciler.decide.records import MirrorRecord
from reconciler.decide.status import iso
from reconciler.decide.store_life import COUNTER_BITS
from reconciler.decide.stored import StoredRecords
from specs.resource import STANDBY_SUFFIX

SERVES = "serves"
IDLE = "idle"
"""Another server has the disk that it shares, or nobody has."""

NO_ENGINE = ("no-engine", IDLE)


class MirrorState(StrEnum):
    """IN_SYNC: both sides have all data. COPYING: the other side gets what it lacks. ALONE: one
    side has all data, and the other one is not being brought up. SPLIT_BRAIN: each side has data
    that the other lacks. WAITING: writes are not answered until the store says who is current.
    STOPPED: nobody serves it. NEW: nobody ever did."""

    IN_SYNC = "in-sync"
    COPYING = "copying"
    ALONE = "alone"
    SPLIT_BRAIN = "split-brain"
    WAITING = "waiting"
    STOPPED = "stopped"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Progress:
    """Of a copy or a comparison. Bytes; `rate` bytes a second."""

    done: int
    total: int
    rate: int | None = None
    seconds_left: float | None = None

    @property
    def percent(self) -> float:
        return 100.0 * self.done / self.total if self.total else 100.0

    def to_json(self) -> dict[str, Any]:
        return {
            "doneBytes": self.done,
            "totalBytes": self.total,
            "percent": round(self.percent, 1),
            "bytesPerSecond": self.rate,
            "secondsLeft": self.seconds_left,
        }


@dataclass(frozen=True, slots=True)
class SideView:
    """`current`: the record names it. `has_all`: it has everything right now, as far as is known;
    otherwise `as_of_wall` tells up to when, if anybody knows. `status` is None while the server
    says nothing."""

    server: str
    current: bool
    word: str
    reason: str = ""
    has_all: bool = False
    as_of_wall: float | None = None
    status: MirrorStatus | None = None

    def to_json(self) -> dict[str, Any]:
        status = self.status
        found: dict[str, Any] = {
            "server": self.server,
            "state": self.word,
            "reason": self.reason,
            "current": self.current,
            "hasAll": self.has_all,
            "dataAsOf": iso(self.as_of_wall),
        }
        if status is not None:
            found |= {
                "connected": status.connected,
                "address": status.address,
                "sizeBytes": status.size or None,
                "roomBytes": status.room or None,
                "generation": status.generation,
                "consistent": status.consistent,
                "isolatedUntil": iso(status.isolated_until_wall),
                "behindBytes": 0 if self.has_all else status.to_copy,
                "queuedBytes": status.backlog,
                "limitBytesPerSecond": status.limit,
                "at": iso(status.at_wall),
            }
        return found


@dataclass(frozen=True, slots=True)
class MirrorView:
    """`sides` are those of the group's servers, in its order. `holders` have all acknowledged data.
    `check` is a comparison under way, `last_check` what the last one found so far."""

    name: str
    group: str
    state: MirrorState
    sides: tuple[SideView, ...]
    holders: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    next_command: str = ""
    progress: Progress | None = None
    check: Progress | None = None
    last_check: MirrorCheck | None = None
    record: MirrorRecord | None = None

    @property
    def serving(self) -> SideView | None:
        return next((side for side in self.sides if side.word == SERVES), None)

    @property
    def other(self) -> SideView | None:
        """The side that does not serve, if there is exactly one. Of several servers that share its
        disk it is the one with the engine."""
        idle = [side for side in self.sides if side.word != SERVES]
        running = [side for side in idle if side.word not in NO_ENGINE]
        found = running if len(idle) > 1 else idle
        return found[0] if len(found) == 1 and len(self.sides) > 1 else None

    @property
    def differs(self) -> bool:
        """The last comparison found differences, and they are there still."""
        return self.last_check is not None and self.last_check.differs

    @property
    def size(self) -> int:
        return max((side.status.size for side in self.sides if side.status), default=0)

    def to_json(self) -> dict[str, Any]:
        """The contract of `mirror status -o json`."""
        serving, record = self.serving, self.record
        return {
            "name": self.name,
            "group": self.group,
            "state": self.state.value,
            "reasons": list(self.reasons),
            "next": self.next_command,
            "sizeBytes": self.size,
            "serves": serving.server if serving else None,
            "holders": list(self.holders),
            "generation": record.generation if record else None,
            "epoch": record.epoch if record else None,
            "since": iso(record.at_wall) if record else None,
            "forcedBy": (record.forced_by or None) if record else None,
            "givenUp": list(record.given_up) if record else [],
            "copy": self.progress.to_json() if self.progress else None,
            "copiedBytes": serving.status.copied if serving and serving.status else 0,
            "verify": self._check_json(),
            "sides": [side.to_json() for side in self.sides],
        }

    def _check_json(self) -> dict[str, Any] | None:
        last = self.last_check
        if last is None:
            return None
        running = self.check.to_json() if self.check else {}
        found = {"differentParts": last.different, "partBytes": last.part, "ended": last.ended}
        return {**running, **found}


def mirror_view(
    name: str, group: str, servers: Mapping[str, str], records: StoredRecords
) -> MirrorView:
    """`servers` are those that may run the group, each with what the record calls its side."""
    record = records.mirrors.get(name)
    statuses = {server: _present(server, name, records) for server in servers}
    serving = _serving(statuses.values(), record)
    unsettled = _is_unsettled(record, records)
    holders = record.servers if record and not unsettled else ()
    sides = _with_idle(
        servers,
        tuple(
            _side(server, statuses[server], serving, side in holders)
            for server, side in servers.items()
        ),
    )
    other = _other(servers, serving, sides)
    state, reasons, command = _state(name, group, serving, other, record)
    if unsettled and serving is None:
        reasons, command = (
            _why_unsettled(servers, sides),
            f"clusterctl mirror promote {name} --server SERVER",
        )
    return MirrorView(
        name=name,
        group=group,
        state=state,
        sides=sides,
        holders=holders,
        reasons=reasons,
        next_command=command,
        progress=_copy(serving) if state is MirrorState.COPYING else None,
        check=_check(serving),
        last_check=serving.check if serving else None,
        record=record,
    )


def _is_unsettled(record: MirrorRecord | None, records: StoredRecords) -> bool:
    """It is of before the store was restored, and so says nothing (`settling`)."""
    life = records.store_life
    return (
        record is not None and life is not None and record.epoch < life.generation << COUNTER_BITS
    )


def _why_unsettled(servers: Mapping[str, str], sides: tuple[SideView, ...]) -> tuple[str, ...]:
    """What a person must know who decides: of which sides nobody said anything yet."""
    text = "since the store was restored it is not settled who has all data"
    told = {
        servers[side.server]
        for side in sides
        if side.status is not None and (side.status.engine or side.status.at_rest)
    }
    missing = [side for side in sides if servers[side.server] not in told]
    if not missing:
        return (text, "what the sides have leaves doubt: decide which one is to count")
    return (text, *(f"{side.server}: {side.reason}" for side in missing))


def _with_idle(servers: Mapping[str, str], sides: tuple[SideView, ...]) -> tuple[SideView, ...]:
    """Of several servers that share a disk only the current one has an engine. What that one has is
    the data of all."""
    current = {servers[s.server]: s for s in sides if s.status is not None and s.status.engine}
    shared = {name for name, number in Counter(servers.values()).items() if number > 1}

    def seen(side: SideView) -> SideView:
        name, status = servers[side.server], side.status
        if name not in shared or status is None or status.engine:
            return side
        has = current.get(name)
        if has is None:
            return replace(side, word=IDLE, reason=f"nobody has the disk of {name} now")
        reason, has_all = f"{has.server} has the disk", has.has_all
        return replace(side, word=IDLE, reason=reason, has_all=has_all, as_of_wall=has.as_of_wall)

    return tuple(seen(side) for side in sides)


def _other(
    servers: Mapping[str, str], serving: MirrorStatus | None, sides: tuple[SideView, ...]
) -> SideView | None:
    """The side that does not serve. Of several servers that share its disk the one with the
    engine: only the current one has it."""
    here = servers[serving.server] if serving is not None else None
    found = [side for side in sides if servers[side.server] != here]
    running = [side for side in found if side.status is not None and side.status.engine]
    return next(iter(running or found), None)


def _serving(
    statuses: Iterable[MirrorStatus | None], record: MirrorRecord | None
) -> MirrorStatus | None:
    """The side that serves. What a server said before it was replaced may still be there."""
    floor = record.epoch if record is not None else 0
    found = [s for s in statuses if s is not None and s.serving and not s.over]
    return next((status for status in found if status.epoch >= floor), None)


def _present(server: str, name: str, records: StoredRecords) -> MirrorStatus | None:
    """What the present boot of the server says; a server without a session says nothing."""
    status, session = records.mirror_status.get((server, name)), records.sessions.get(server)
    if status is None or session is None or session.boot_id != status.boot_id:
        return None
    return status


def _side(
    server: str,
    status: MirrorStatus | None,
    serving: MirrorStatus | None,
    current: bool,
) -> SideView:
    if status is None:
        return SideView(server, current, "silent", "its agent says nothing")
    if not status.engine:
        return SideView(server, current, "no-engine", status.problem, status=status)
    if serving is not None and serving.server == server:
        return SideView(server, current, SERVES, "", True, status=status)
    if status.serving and not status.over:
        return SideView(
            server, current, "replaced", "it says nothing of its new role", status=status
        )
    word, reason = _following(status)
    followed = status.connected and serving is not None and current
    has_all = followed and not status.asynchronous
    as_of = None if has_all else status.as_of_wall
    return SideView(server, current, word, reason, has_all, as_of, status)


def _following(status: MirrorStatus) -> tuple[str, str]:
    if status.over:
        return "failed", status.over
    if status.isolated:
        return "isolated", "it stands still as a snapshot"
    if status.discard:
        return "given-up", "its data was given up; it is copied to when the other side serves"
    if not status.consistent:
        return "copied-to", "the copy to it is not complete"
    if status.fresh:
        return "new", "nothing was ever copied to it"
    return ("follows", "") if status.connected else ("not-connected", status.unfit)


def _state(
    name: str,
    group: str,
    serving: MirrorStatus | None,
    other: SideView | None,
    record: MirrorRecord | None,
) -> tuple[MirrorState, tuple[str, ...], str]:
    if record is None:
        text = "it was never served: the group's first start makes one side current"
        return MirrorState.NEW, (text,), f"clusterctl describe group/{group}"
    holders = " and ".join(record.servers)
    only = f"only {holders} has all acknowledged data"
    if serving is None:
        reasons = (only,) if len(record.servers) == 1 else ()
        return MirrorState.STOPPED, ("nobody serves it", *reasons), f"clusterctl why group/{group}"
    if serving.suspended:
        text = f"writes wait until the store says that {serving.server} may go on alone"
        return MirrorState.WAITING, (text,), "clusterctl status"
    if serving.stage == "both" and len(record.servers) > 1:
        if serving.check is not None and serving.check.differs:
            again = f"clusterctl mirror resync {name} --checksum"
            return MirrorState.IN_SYNC, (f"at the last comparison {serving.check}",), again
        return MirrorState.IN_SYNC, (), ""
    if serving.connected:
        return MirrorState.COPYING, (), f"clusterctl mirror status {name} --follow"
    if serving.verdict == "split-brain" and other is not None:
        text = f"{serving.server} and {other.server} each have data that the other one lacks"
        command = f"clusterctl mirror discard {name} --server {other.server}"
        return MirrorState.SPLIT_BRAIN, (text, serving.verdict_reason), command
    return MirrorState.ALONE, (only, *_why_alone(serving, other)), _when_alone(name, group, other)


def _why_alone(serving: MirrorStatus, other: SideView | None) -> tuple[str, ...]:
    if other is not None and other.word in ("silent", "isolated", "failed", *NO_ENGINE):
        return (f"{other.server}: {other.reason}",)
    if serving.verdict in ("refused", "stale"):
        return (serving.verdict_reason,)
    return (serving.problem,) if serving.problem else ()


def _when_alone(name: str, group: str, other: SideView | None) -> str:
    if other is not None and other.word == IDLE:
        return f"clusterctl why group/{group}{STANDBY_SUFFIX}"
    if other is not None and other.word == "isolated":
        return f"clusterctl mirror rejoin {name} --server {other.server}"
    if other is not None and other.word == "silent":
        return f"clusterctl describe server/{other.server}"
    return f"clusterctl mirror resync {name}"


def _copy(serving: MirrorStatus | None) -> Progress | None:
    if serving is None:
        return None
    total = serving.copied + serving.to_copy
    return Progress(serving.copied, total, serving.rate, serving.seconds_left)


def _check(serving: MirrorStatus | None) -> Progress | None:
    if serving is None or serving.check is None or serving.check.ended:
        return None
    check = serving.check
    return Progress(check.done, serving.size, check.rate, check.seconds_left)
