"""Ownership is written by the one that holds the coordinator's place, and by nobody who is being
fenced: a deposed coordinator's decision, sent before and arriving late, changes nothing."""

from reconciler.decide.records import Coordinator, FenceIntent, Ownership
from tests.simulation.facts import Fact, Restored, Stored
from tests.simulation.invariants.base import Handler, Invariant
from tests.simulation.invariants.boots import Boots

# Others take an open slot for over after its time; longer than that it binds nobody.
SLOT_BINDS_S = 9.0


class OneDecider(Invariant):
    name = "one_decider"

    def __init__(self) -> None:
        self._coordinator: str | None = None
        self._slot: FenceIntent | None = None
        self._slot_since = 0.0
        self._boots = Boots()

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Stored: self._stored, Restored: self._restored}

    def _restored(self, fact: Restored) -> None:
        self._coordinator, self._slot = None, None

    def _stored(self, fact: Stored) -> str | None:
        new = fact.new
        self._boots.note(fact)
        if fact.path[1:] == ("coordinator",):
            self._coordinator = new.server if isinstance(new, Coordinator) else None
            return self._fenced(fact) if isinstance(new, Coordinator) else None
        if fact.path[1:] == ("fence-slot",):
            self._slot = new if isinstance(new, FenceIntent) else None
            self._slot_since = fact.at
            return None
        if not isinstance(new, Ownership) or not fact.writer:
            return None
        if fact.writer != self._coordinator:
            return f"{fact.writer} decides about {new.group}; {self._coordinator} is coordinator"
        return self._fenced(fact)

    def _fenced(self, fact: Stored) -> str | None:
        slot = self._slot
        if slot is None or slot.closed or slot.victim != fact.writer:
            return None
        if fact.at - self._slot_since > SLOT_BINDS_S or self._boots.is_over(slot):
            return None
        return f"{fact.writer} writes {'/'.join(fact.path)} while {slot.executor} fences it"
