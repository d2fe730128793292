"""When ownership leaves a server or an epoch, nothing of the group runs there any more."""

from reconciler.decide.records import Ownership
from tests.simulation.facts import Down, Fact, Stored, Up
from tests.simulation.invariants.base import Handler, Invariant


class ProofBeforeTakeover(Invariant):
    name = "proof_before_takeover"

    def __init__(self) -> None:
        self._active: dict[str, dict[str, str]] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Down: self._down, Stored: self._stored}

    def _up(self, fact: Up) -> None:
        self._active.setdefault(fact.server, {})[fact.resource] = fact.group

    def _down(self, fact: Down) -> None:
        self._active.get(fact.server, {}).pop(fact.resource, None)

    def _stored(self, fact: Stored) -> str | None:
        old, new = fact.old, fact.new
        if not isinstance(old, Ownership) or not isinstance(new, Ownership) or old.owner is None:
            return None
        if (new.owner, new.epoch) == (old.owner, old.epoch):
            return None
        here = self._active.get(old.owner, {})
        running = sorted(name for name, group in here.items() if group == new.group)
        if not running:
            return None
        return (
            f"{new.group} goes from {old.owner} to {new.owner} ({new.proof.value}) while "
            f"{', '.join(running)} run there"
        )
