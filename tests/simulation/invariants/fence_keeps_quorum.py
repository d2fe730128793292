"""No server is switched off when the other members of the store are no majority."""

from tests.simulation.facts import Fact, PowerCommand
from tests.simulation.invariants.base import Handler, Invariant


class FenceKeepsQuorum(Invariant):
    name = "fence_keeps_quorum"

    def handlers(self) -> dict[type[Fact], Handler]:
        return {PowerCommand: self._command}

    def _command(self, fact: PowerCommand) -> str | None:
        if fact.quorum:
            return None
        return f"{fact.executor} switches {fact.victim} off, and the store with it"
