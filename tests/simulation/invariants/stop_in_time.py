"""What must not run without the store has ended in time, whoever is heard.

The dead-man time D counts from the sending of the last proven renewal, on a clock that may run a
tenth too slowly; where a watchdog is promised with the grant, not even a machine that stands still,
a pulse that is gone or a process that cannot be killed outlives it for longer than W and a reset.
"""

from reconciler.decide.records import Ownership
from specs.timing_rules import CLOCK_DRIFT, RESET_S
from tests.simulation.facts import (
    Down,
    Fact,
    Frozen,
    Powered,
    Pulse,
    Renewed,
    Restored,
    Stored,
    Tick,
    Unkillable,
    Up,
)
from tests.simulation.invariants.base import Handler, Invariant

LONGEST_D_S = 6.0


class StopInTime(Invariant):
    name = "stop_in_time"

    def __init__(self) -> None:
        self._records: dict[str, Ownership] = {}
        self._active: dict[str, dict[str, str]] = {}
        self._sent: dict[str, float] = {}
        # Without a watchdog nobody acts while these last.
        self._helpless: dict[str, set[str]] = {}
        self._since: dict[str, float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Up: self._up,
            Down: self._down,
            Stored: self._stored,
            Restored: self._restored,
            Renewed: self._renewed,
            Powered: self._powered,
            Frozen: lambda f: self._helps(f, "frozen", f.frozen),
            Pulse: lambda f: self._helps(f, "pulse", not f.alive),
            Unkillable: lambda f: self._helps(f, "unkillable", f.unkillable),
            Tick: self._tick,
        }

    def _up(self, fact: Up) -> None:
        self._active.setdefault(fact.server, {})[fact.resource] = fact.group

    def _down(self, fact: Down) -> None:
        self._active.get(fact.server, {}).pop(fact.resource, None)

    def _stored(self, fact: Stored) -> None:
        if isinstance(fact.new, Ownership):
            self._records[fact.new.group] = fact.new

    def _restored(self, fact: Restored) -> None:
        """What runs was granted by another store: nobody counts on its end."""
        self._records.clear()

    def _renewed(self, fact: Renewed) -> None:
        self._sent[fact.server] = max(fact.sent_at, self._sent.get(fact.server, 0.0))

    def _powered(self, fact: Powered) -> None:
        self._helpless.pop(fact.server, None)
        self._since[fact.server] = fact.at

    def _helps(self, fact: Frozen | Pulse | Unkillable, what: str, helpless: bool) -> None:
        here = self._helpless.setdefault(fact.server, set())
        (here.add if helpless else here.discard)(what)
        self._since[fact.server] = fact.at

    def _tick(self, fact: Tick) -> str | None:
        for server, running in self._active.items():
            for resource, group in running.items():
                record = self._records.get(group)
                if record is None or record.owner != server or record.on_store_loss != "stop":
                    continue
                due = self._due(server, record)
                if due is not None and fact.at > due:
                    return (
                        f"{resource} runs on {server}, whose last proof is from "
                        f"{self._sent.get(server, 0.0):.1f}; it had to end by {due:.1f}"
                    )
        return None

    def _due(self, server: str, record: Ownership) -> float | None:
        sent = self._sent.get(server, self._since.get(server, 0.0))
        if record.watchdog_s:
            return sent + (record.dead_man_s + record.watchdog_s) / (1 - CLOCK_DRIFT) + RESET_S
        if self._helpless.get(server):
            return None
        begin = max(sent + LONGEST_D_S / (1 - CLOCK_DRIFT), self._since.get(server, 0.0))
        return begin + RESET_S
