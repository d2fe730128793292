"""Everything under run/ and status/ as typed records; read once by who computes a view of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from reconciler.decide.keys import Keys
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import (
    Answer,
    Challenge,
    Coordinator,
    Cordon,
    FenceIntent,
    FenceRecord,
    GroupStatus,
    Hold,
    MirrorRecord,
    MonitorStatus,
    Operation,
    Ownership,
    Record,
    Release,
    ServerFacts,
    ServerStatus,
    Session,
    StoreLife,
    Verdict,
)

_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """Mappings are keyed by server or group name, `group_status` by (server, group),
    `monitor_status` by (server, monitor), `mirrors` by resource, `mirror_status` by (server,
    resource), `operations` by id. `unreadable` lists keys whose value
    no reader of this version understands: they are shown, never guessed."""

    coordinator: Coordinator | None = None
    fence_slot: FenceIntent | None = None
    store_life: StoreLife | None = None
    cordons: Mapping[str, Cordon] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    mirrors: Mapping[str, MirrorRecord] = field(default_factory=dict)
    sessions: Mapping[str, Session] = field(default_factory=dict)
    groups: Mapping[str, Ownership] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    fences: Mapping[str, FenceRecord] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    operations: Mapping[str, Operation] = field(default_factory=dict)
    challenges: Mapping[str, Challenge] = field(default_factory=dict)
    answers: Mapping[str, Answer] = field(default_factory=dict)
    server_status: Mapping[str, ServerStatus] = field(default_factory=dict)
    server_facts: Mapping[str, ServerFacts] = field(default_factory=dict)
    group_status: Mapping[tuple[str, str], GroupStatus] = field(default_factory=dict)
    monitor_status: Mapping[tuple[str, str], MonitorStatus] = field(default_factory=dict)
    mirror_status: Mapping[tuple[str, str], MirrorStatus] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def pending_operations(self, *targets: str) -> tuple[Operation, ...]:
        """Operations on one of these targets that have not ended, oldest first."""
        return tuple(
            self.operations[key]
            for key in sorted(self.operations)
            if self.operations[key].target in targets
            and self.operations[key].phase in ("pending", "running")
        )


class _Reader:
    def __init__(self, keys: Keys, items: Iterable[tuple[str, bytes]]) -> None:
        self.unreadable: list[str] = []
        self._items: dict[tuple[str, ...], tuple[str, bytes]] = {
            keys.parse(key): (key, value) for key, value in items
        }

    def one(self, path: tuple[str, ...], model: type[_R]) -> _R | None:
        found = self._items.get(path)
        if found is None:
            return None
        try:
            return model.from_bytes(found[1])
        except ValidationError:
            self.unreadable.append(found[0])
            return None

    def named(self, area: str, model: type[_R]) -> dict[str, _R]:
        """run/<area>/<name>."""
        found = {}
        for path in self._items:
            if len(path) == 3 and path[:2] == ("run", area):
                record = self.one(path, model)
                if record is not None:
                    found[path[2]] = record
        return found

    def of_server(self, what: str, model: type[_R]) -> dict[str, _R]:
        """status/<server>/<what>."""
        found = {}
        for path in self._items:
            if len(path) == 3 and path[0] == "status" and path[2] == what:
                record = self.one(path, model)
                if record is not None:
                    found[path[1]] = record
        return found

    def status_of(self, area: str, model: type[_R]) -> dict[tuple[str, str], _R]:
        """status/<server>/<area>/<name>."""
        found = {}
        for path in self._items:
            if len(path) == 4 and path[0] == "status" and path[2] == area:
                record = self.one(path, model)
                if record is not None:
                    found[path[1], path[3]] = record
        return found


def read_records(keys: Keys, items: Iterable[tuple[str, bytes]]) -> StoredRecords:
    """`items` are (key, value) pairs of the cluster's prefix; keys outside run/ and status/ are
    ignored. Raises nothing: what cannot be read is listed in `unreadable`."""
    reader = _Reader(keys, items)
    return StoredRecords(
        coordinator=reader.one(("run", "coordinator"), Coordinator),
        fence_slot=_open(reader.one(("run", "fence-slot"), FenceIntent)),
        store_life=reader.one(("run", "store"), StoreLife),
        cordons=reader.named("cordons", Cordon),
        holds=reader.named("holds", Hold),
        mirrors=reader.named("mirrors", MirrorRecord),
        sessions=reader.named("sessions", Session),
        groups=reader.named("groups", Ownership),
        releases=reader.named("releases", Release),
        fences=reader.named("fences", FenceRecord),
        verdicts=reader.named("verdicts", Verdict),
        operations=reader.named("operations", Operation),
        challenges=reader.named("challenges", Challenge),
        answers=reader.named("answers", Answer),
        server_status=reader.of_server("server", ServerStatus),
        server_facts=reader.of_server("facts", ServerFacts),
        group_status=reader.status_of("groups", GroupStatus),
        monitor_status=reader.status_of("monitors", MonitorStatus),
        mirror_status=reader.status_of("mirrors", MirrorStatus),
        unreadable=tuple(sorted(set(reader.unreadable))),
    )


def _open(slot: FenceIntent | None) -> FenceIntent | None:
    """A closed slot stays in the store; to a reader nothing is in progress."""
    return None if slot is None or slot.closed else slot
