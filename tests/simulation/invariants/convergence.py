"""In the end every group runs whole on exactly its owner, and the store is at rest."""

from reconciler.decide.records import Ownership
from tests.simulation.facts import End, Fact, Restored, Stored
from tests.simulation.invariants.base import Handler, Invariant

AT_REST_S = 5.0
PASSING = ("challenges", "answers", "operations")


class Convergence(Invariant):
    name = "convergence"

    def __init__(self) -> None:
        self._records: dict[str, Ownership] = {}
        self._sessions: set[str] = set()
        self._last = (0.0, "")

    def has_sessions(self, servers: tuple[str, ...]) -> bool:
        return set(servers) <= self._sessions

    def at_rest(self, now: float) -> bool:
        """Nothing was written for a while."""
        return now - self._last[0] >= AT_REST_S

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Stored: self._stored, Restored: self._restored, End: self._end}

    def _restored(self, fact: Restored) -> None:
        found = [record for _, record in fact.records if isinstance(record, Ownership)]
        self._records = {record.group: record for record in found}
        self._sessions.clear()

    def _stored(self, fact: Stored) -> None:
        if isinstance(fact.new, Ownership):
            self._records[fact.new.group] = fact.new
        if fact.path[1] == "sessions":
            (self._sessions.add if fact.new else self._sessions.discard)(fact.path[2])
        if fact.path[1] not in PASSING:
            self._last = (fact.at, "/".join(fact.path))

    def _end(self, fact: End) -> str | None:
        owners: dict[str, str | None] = {}
        for resource, group in fact.wanted:
            record = self._records.get(group)
            owners[resource] = record.owner if record else None
        found = {resource: server for resource, server, _ in fact.active}
        if found != owners or len(found) != len(fact.active):
            return f"running {found}, owned {owners}"
        without = sorted(set(fact.servers) - self._sessions)
        if without:
            return f"{', '.join(without)} has no session"
        at, path = self._last
        if fact.at - at < AT_REST_S:
            return f"all runs, but {path} was written {fact.at - at:.1f} s ago"
        return None
