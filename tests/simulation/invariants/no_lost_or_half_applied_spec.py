"""Every acknowledged apply is in force or superseded by a later one; none is seen in part."""

from tests.simulation.facts import Applied, End, Fact, Restored, SpecsRead
from tests.simulation.invariants.base import Handler, Invariant


class NoLostOrHalfAppliedSpec(Invariant):
    """Applies carry growing numbers in each of their objects, so parts of two would show."""

    name = "no_lost_or_half_applied_spec"

    def __init__(self) -> None:
        self._acknowledged: dict[int, int] = {}
        self._unknown: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._newest: dict[str, int] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Applied: self._applied, SpecsRead: self._read, End: self._end} | {
            Restored: self._restored
        }

    def _restored(self, fact: Restored) -> None:
        """What was applied since the backup is lost with the store, not by us."""
        for known in (self._acknowledged, self._numbers, self._newest):
            known.clear()

    def _applied(self, fact: Applied) -> str | None:
        if fact.revision is None:
            self._unknown.add(fact.number)
            return None
        self._acknowledged[fact.revision] = fact.number
        return self._agree(fact.revision, fact.number)

    def _agree(self, revision: int, number: int) -> str | None:
        known = self._numbers.setdefault(revision, number)
        return f"revision {revision} is {known} and {number}" if known != number else None

    def _read(self, fact: SpecsRead) -> str | None:
        if len(set(fact.numbers)) != 1:
            return f"{fact.server} reads revision {fact.revision} in parts: {fact.numbers}"
        self._newest[fact.server] = fact.revision
        return self._agree(fact.revision, fact.numbers[0])

    def _end(self, fact: End) -> str | None:
        newest = max(self._acknowledged, default=0)
        for server, revision in sorted(self._newest.items()):
            if revision < newest:
                return f"{server} has revision {revision}, {newest} was acknowledged"
        return None
