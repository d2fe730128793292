"""A watchdog bites only where something was wrong: a healthy server is fed."""

from tests.simulation.facts import (
    Disk,
    Fact,
    Frozen,
    Pill,
    Powered,
    Pulse,
    Renewed,
    Unkillable,
)
from tests.simulation.invariants.base import Handler, Invariant

# Longer than W and the patience of a mailbox, on a slow clock.
LATELY_S = 8.0
# The shortest D, on the fastest clock.
PROVEN_S = 2.7


class NeedlessReset(Invariant):
    name = "needless_reset"

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._wrong: dict[str, set[str]] = {}
        self._wrong_at: dict[str, float] = {}
        self._pills: set[str] = set()

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Renewed: self._renewed,
            Pill: self._pill,
            Frozen: lambda f: self._is(f, "frozen", f.frozen),
            Pulse: lambda f: self._is(f, "pulse", not f.alive),
            Disk: lambda f: self._is(f, "disk", not f.reached),
            Unkillable: lambda f: self._is(f, "unkillable", f.unkillable),
            Powered: self._powered,
        }

    def _renewed(self, fact: Renewed) -> None:
        late = fact.at - self._sent.get(fact.server, fact.at) > PROVEN_S
        if late:
            self._wrong_at[fact.server] = fact.at
        self._sent[fact.server] = max(fact.sent_at, self._sent.get(fact.server, 0.0))

    def _pill(self, fact: Pill) -> None:
        self._pills.add(fact.boot_id)

    def _is(self, fact: Frozen | Pulse | Disk | Unkillable, what: str, wrong: bool) -> None:
        here = self._wrong.setdefault(fact.server, set())
        (here.add if wrong else here.discard)(what)
        self._wrong_at[fact.server] = fact.at

    def _powered(self, fact: Powered) -> str | None:
        if fact.on or fact.by != "watchdog":
            for known in (self._wrong, self._wrong_at, self._sent):
                known.pop(fact.server, None)  # type: ignore[attr-defined]
            return None
        lately = fact.at - self._wrong_at.get(fact.server, float("-inf")) < LATELY_S
        unproven = fact.at - self._sent.get(fact.server, float("-inf")) > PROVEN_S
        if lately or unproven or self._wrong.get(fact.server) or fact.boot_id in self._pills:
            return None
        return f"the watchdog resets {fact.server}, which was proven at {self._sent[fact.server]}"
