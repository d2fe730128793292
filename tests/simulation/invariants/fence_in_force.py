"""A power command leaves only for the intent that stands in the store, while it is valid for all.

Others take the slot for free after 10 s x 1.25 on a clock that may run a tenth too fast.
"""

from reconciler.decide.records import FenceIntent
from tests.simulation.facts import Fact, PowerCommand, Restored, Stored
from tests.simulation.invariants.base import Handler, Invariant
from tests.simulation.invariants.boots import Boots

VALID_FOR_ALL_S = 12.5 / 1.1


class FenceInForce(Invariant):
    name = "fence_in_force"

    def __init__(self) -> None:
        self._slot: FenceIntent | None = None
        self._since = 0.0
        self._boots = Boots()

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Stored: self._stored, Restored: self._restored, PowerCommand: self._command}

    def _restored(self, fact: Restored) -> None:
        self._slot = None

    def _stored(self, fact: Stored) -> str | None:
        self._boots.note(fact)
        if fact.path[1:] != ("fence-slot",):
            return None
        old, self._slot = self._slot, fact.new if isinstance(fact.new, FenceIntent) else None
        since, self._since = self._since, fact.at
        if old is None or self._slot is None or old.closed or self._slot.closed:
            return None
        if _is_claim(old, self._slot) or self._boots.is_over(old):
            return None
        if fact.at < since + 10.0:
            return f"the slot of {old.victim} is taken for {self._slot.victim} while it is open"
        return None

    def _command(self, fact: PowerCommand) -> str | None:
        slot = self._slot
        if slot is None or slot.closed:
            return f"{fact.executor} switches {fact.victim} off, but no fence is in progress"
        if (slot.victim, slot.executor) != (fact.victim, fact.executor):
            return f"{fact.executor} switches {fact.victim} off; the slot says {slot.victim}"
        if fact.at - self._since > VALID_FOR_ALL_S:
            age = fact.at - self._since
            return f"{fact.executor} switches {fact.victim} off {age:.1f} s after the intent"
        return None


def _is_claim(old: FenceIntent, new: FenceIntent) -> bool:
    """The executor wrote the same intent again, once, before it acts."""
    same = old.model_copy(update={"counts_from": new.counts_from, "nonce": new.nonce})
    return old.counts_from is None and same == new
