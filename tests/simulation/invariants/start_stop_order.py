"""Resources of a group start after what they need, and stop before it."""

from tests.simulation.facts import Down, Fact, Up
from tests.simulation.invariants.base import Handler, Invariant

# What dies by itself under a start that is going on is noticed after it.
NOTICED_S = 1.0


class StartStopOrder(Invariant):
    """Levels are learnt: a group has a lower level once something of it was seen."""

    name = "start_stop_order"

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], dict[str, int]] = {}
        self._levels: dict[str, dict[str, int]] = {}
        self._died: dict[tuple[str, str], float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Down: self._down}

    def _up(self, fact: Up) -> str | None:
        here = self._active.setdefault((fact.server, fact.group), {})
        known = self._levels.setdefault(fact.group, {})
        here[fact.resource] = known[fact.resource] = fact.level
        missing = [n for n, level in known.items() if level < fact.level and n not in here]
        began = fact.at if fact.began is None else fact.began
        missing = [n for n in missing if began - self._died_at(fact.server, n) > NOTICED_S]
        if missing:
            return f"{fact.resource} starts on {fact.server} before {', '.join(missing)}"
        return None

    def _died_at(self, server: str, resource: str) -> float:
        return self._died.get((server, resource), float("-inf"))

    def _down(self, fact: Down) -> str | None:
        here = self._active.setdefault((fact.server, fact.group), {})
        here.pop(fact.resource, None)
        if fact.by != "driver":
            self._died[fact.server, fact.resource] = fact.at
        above = [name for name, level in here.items() if level > fact.level]
        if fact.by == "driver" and above:
            return f"{fact.resource} stops on {fact.server} under {', '.join(above)}"
        return None
