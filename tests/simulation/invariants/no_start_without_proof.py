"""Nothing starts without a proven lease, without a pulse, or on what was proven before a pause.

A renewal counts from its sending, and for the dead-man time only. After a pause of the whole
machine only one that left since then counts: all else may have been overtaken meanwhile.
"""

from specs.cluster import PROFILES
from specs.timing_rules import CLOCK_DRIFT
from tests.simulation.facts import Fact, Frozen, Powered, Pulse, Renewed, Up
from tests.simulation.invariants.base import Handler, Invariant

# A pause that heartbeats survive is none.
PAUSE_S = 0.2
# Until the agent learns that its pulse is gone.
NOTICED_S = 1.0
# D on the slowest of clocks.
OVERDUE_S = PROFILES["default"].dead_man / (1 - CLOCK_DRIFT)


class NoStartWithoutProof(Invariant):
    name = "no_start_without_proof"

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._sent: dict[str, float] = {}
        self._frozen_at: dict[str, float] = {}
        self._resumed: dict[str, float] = {}
        self._no_pulse: dict[str, float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Up: self._up,
            Renewed: self._renewed,
            Frozen: self._froze,
            Pulse: self._pulse,
            Powered: self._powered,
        }

    def _renewed(self, fact: Renewed) -> None:
        self._until[fact.server] = max(fact.until, self._until.get(fact.server, 0.0))
        self._sent[fact.server] = max(fact.sent_at, self._sent.get(fact.server, 0.0))

    def _froze(self, fact: Frozen) -> None:
        if fact.frozen:
            self._frozen_at[fact.server] = fact.at
        elif fact.at - self._frozen_at.get(fact.server, fact.at) > PAUSE_S:
            self._resumed[fact.server] = fact.at

    def _pulse(self, fact: Pulse) -> None:
        if fact.alive:
            self._no_pulse.pop(fact.server, None)
        else:
            self._no_pulse[fact.server] = fact.at

    def _powered(self, fact: Powered) -> None:
        for known in (self._until, self._sent, self._resumed, self._no_pulse):
            known.pop(fact.server, None)

    def _up(self, fact: Up) -> str | None:
        until = self._until.get(fact.server, float("-inf"))
        if fact.at > until + 1e-6:
            return f"{fact.resource} starts on {fact.server}, proven until {until:.2f} only"
        if fact.at - self._sent.get(fact.server, fact.at) > OVERDUE_S + 1e-6:
            since = self._sent[fact.server]
            return f"{fact.resource} starts on {fact.server}, proven at {since:.2f}: overdue"
        if self._sent[fact.server] < self._resumed.get(fact.server, float("-inf")):
            since = self._resumed[fact.server]
            return f"{fact.resource} starts on {fact.server} on what was before its pause ({since})"
        if fact.at - self._no_pulse.get(fact.server, fact.at) > NOTICED_S:
            return f"{fact.resource} starts on {fact.server} without a pulse"
        return None
