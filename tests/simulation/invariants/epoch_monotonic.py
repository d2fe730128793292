"""Epochs only grow: in the store, at each resource, and with every grant."""

from reconciler.decide.records import Ownership
from tests.simulation.facts import Fact, Stored, Up
from tests.simulation.invariants.base import Handler, Invariant


class EpochMonotonic(Invariant):
    name = "epoch_monotonic"

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._granted: dict[tuple[str, int], tuple[str, str]] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Stored: self._stored}

    def _up(self, fact: Up) -> str | None:
        high = self._seen.get(fact.resource, 0)
        self._seen[fact.resource] = max(high, fact.epoch)
        if fact.epoch < high:
            return f"{fact.resource} starts on {fact.server} at {fact.epoch} after {high}"
        return None

    def _stored(self, fact: Stored) -> str | None:
        old, new = fact.old, fact.new
        if not isinstance(new, Ownership):
            return "an ownership record was deleted" if isinstance(old, Ownership) else None
        if isinstance(old, Ownership) and new.epoch < old.epoch:
            return f"{new.group} fell from {old.epoch} to {new.epoch}"
        if new.owner is None:
            return None
        holder = (new.owner, new.boot_id)
        first = self._granted.setdefault((new.group, new.epoch), holder)
        again = isinstance(old, Ownership) and old.owner is None and old.epoch == new.epoch
        if first != holder or again:
            return f"epoch {new.epoch} of {new.group} is granted to {first[0]} and to {new.owner}"
        return None
