"""Nobody is powered off whom somebody near still hears, or who could have answered.

An operator may ask for it, or a group's own policy; a server alone may not decide it.
"""

from reconciler.decide.fence_execution import SILENT
from reconciler.decide.records import FenceIntent
from tests.simulation.facts import Fact, PowerCommand, Restored, Stored
from tests.simulation.invariants.base import Handler, Invariant


class NeedlessFence(Invariant):
    name = "needless_fence"

    def __init__(self) -> None:
        self._slot: FenceIntent | None = None

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Stored: self._stored, Restored: self._restored, PowerCommand: self._command}

    def _restored(self, fact: Restored) -> None:
        self._slot = None

    def _stored(self, fact: Stored) -> None:
        if fact.path[1:] == ("fence-slot",):
            self._slot = fact.new if isinstance(fact.new, FenceIntent) else None

    def _command(self, fact: PowerCommand) -> str | None:
        if self._slot is not None and self._slot.reason != SILENT:
            return None
        if fact.hearers:
            return f"{fact.victim} is switched off, but {', '.join(fact.hearers)} hears it well"
        if fact.answers:
            return f"{fact.victim} is switched off, but its agent could have answered"
        return None
