"""No flapping and no storms: grants, starts, power commands and resets per minute are bounded."""

from collections import deque

from reconciler.decide.records import Ownership
from tests.simulation.facts import Fact, PowerCommand, Powered, Stored, Up
from tests.simulation.invariants.base import Handler, Invariant

WINDOW_S = 60.0
# More than any story of one minute, with a fault each second, has a reason for.
GRANTS = 30
STARTS = 60
COMMANDS = 20  # a device that lies is tried by each of four servers, in rounds that lie apart
RESETS = 12


class BoundedWork(Invariant):
    name = "bounded_work"

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Stored: self._stored,
            Up: lambda f: self._count(f.at, f"starts of {f.resource} on {f.server}", STARTS),
            PowerCommand: lambda f: self._count(f.at, f"fences of {f.victim}", COMMANDS),
            Powered: self._powered,
        }

    def _count(self, at: float, what: str, limit: int) -> str | None:
        times = self._times.setdefault(what, deque())
        times.append(at)
        while times[0] < at - WINDOW_S:
            times.popleft()
        return f"{len(times)} {what} within a minute" if len(times) > limit else None

    def _stored(self, fact: Stored) -> str | None:
        old, new = fact.old, fact.new
        if not isinstance(new, Ownership) or new.owner is None:
            return None
        if isinstance(old, Ownership) and old.epoch == new.epoch:
            return None
        return self._count(fact.at, f"grants of {new.group}", GRANTS)

    def _powered(self, fact: Powered) -> str | None:
        if fact.by != "itself" or fact.on:
            return None
        return self._count(fact.at, f"resets of {fact.server}", RESETS)
