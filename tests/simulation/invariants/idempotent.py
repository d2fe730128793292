"""Nothing is written again that stands there already: a decision that was carried out is over."""

from reconciler.decide.records import Record
from tests.simulation.facts import Fact, Stored
from tests.simulation.invariants.base import Handler, Invariant

# Their nonce is what they say, or their owner renews them on purpose.
MEANT = ("challenges", "answers", "sessions", "coordinator")


class Idempotent(Invariant):
    name = "idempotent"

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Stored: self._stored}

    def _stored(self, fact: Stored) -> str | None:
        old, new = fact.old, fact.new
        if fact.path[1] in MEANT or old is None or new is None or _bare(old) != _bare(new):
            return None
        return f"{'/'.join(fact.path)} is written again as it stands: {new}"


def _bare(record: Record) -> Record:
    return record.model_copy(update={"nonce": ""})
