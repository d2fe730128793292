"""A server that is alone and without a proof of its lease has stopped everything in time.

Both the last proof and the last majority heard lie longer ago than the deadline D, on a clock that
may run a tenth too slowly; the rest is the way of a kill. Time in which the machine stands still
counts for nobody: only a hardware watchdog could act then. An `agent hold` lets it wait longer.
While the pulse is away it is the agent's to stop, and one that was started without a store knows
nothing: the next pulse, which inherits since when, has the time of a kill. What began while there
was none begins with the next.
"""

from tests.simulation.facts import (
    Down,
    Fact,
    Frozen,
    Hears,
    Held,
    Powered,
    Pulse,
    Renewed,
    Tick,
    Up,
)
from tests.simulation.invariants.base import Handler, Invariant

DEAD_MAN_S = 6.0
SLOWEST_CLOCK = 0.9
KILL_S = 1.0


class SelfStopInTime(Invariant):
    name = "self_stop_in_time"

    def __init__(self) -> None:
        self._active: dict[str, set[str]] = {}
        self._alone_since: dict[str, float] = {}
        self._proved: dict[str, float] = {}
        self._frozen: set[str] = set()
        self._held: dict[str, float] = {}
        self._no_pulse: set[str] = set()
        self._pulse_since: dict[str, float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Up: self._up,
            Down: self._down,
            Powered: self._powered,
            Frozen: self._freeze,
            Pulse: self._pulse,
            Hears: self._hears,
            Held: self._hold,
            Renewed: self._renewed,
            Tick: self._tick,
        }

    def _up(self, fact: Up) -> None:
        self._active.setdefault(fact.server, set()).add(fact.resource)

    def _down(self, fact: Down) -> None:
        self._active.get(fact.server, set()).discard(fact.resource)

    def _powered(self, fact: Powered) -> None:
        self._frozen.discard(fact.server)
        self._no_pulse.discard(fact.server)
        self._held.pop(fact.server, None)
        self._restart(fact)

    def _freeze(self, fact: Frozen) -> None:
        (self._frozen.add if fact.frozen else self._frozen.discard)(fact.server)
        self._restart(fact)

    def _pulse(self, fact: Pulse) -> None:
        alone_since = self._alone_since.get(fact.server)
        died = self._pulse_since.get(fact.server, fact.at)
        if fact.alive and alone_since is not None and alone_since >= died:
            self._alone_since[fact.server] = fact.at  # nobody was there to note it
        (self._no_pulse.discard if fact.alive else self._no_pulse.add)(fact.server)
        self._pulse_since[fact.server] = fact.at

    def _restart(self, fact: Powered | Frozen) -> None:
        if fact.server in self._alone_since:
            self._alone_since[fact.server] = fact.at

    def _hears(self, fact: Hears) -> None:
        if fact.majority:
            self._alone_since.pop(fact.server, None)
        else:
            self._alone_since.setdefault(fact.server, fact.at)

    def _hold(self, fact: Held) -> None:
        self._held[fact.server] = fact.at + max(0.0, fact.for_s) / SLOWEST_CLOCK

    def _renewed(self, fact: Renewed) -> None:
        self._proved[fact.server] = max(fact.sent_at, self._proved.get(fact.server, fact.sent_at))

    def _tick(self, fact: Tick) -> str | None:
        for server, since in self._alone_since.items():
            begin = max(since, self._proved.get(server, since))
            stops_at = max(begin + DEAD_MAN_S / SLOWEST_CLOCK, self._held.get(server, begin))
            due = max(stops_at, self._pulse_since.get(server, begin)) + KILL_S
            running = sorted(self._active.get(server, ()))
            if running and server not in self._frozen | self._no_pulse and fact.at > due:
                return (
                    f"{server} is alone since {since:.1f}, its last proof is from "
                    f"{self._proved.get(server, 0.0):.1f}, and {running} still run"
                )
        return None
