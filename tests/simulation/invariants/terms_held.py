"""A server holds no longer deadlines than those under which its groups were granted: others may
take over when these are over."""

from reconciler.decide.records import Ownership
from tests.simulation.facts import Deadline, Down, Fact, Powered, Restored, Stored, Up, Watched
from tests.simulation.invariants.base import Handler, Invariant


class TermsHeld(Invariant):
    name = "terms_held"

    def __init__(self) -> None:
        self._records: dict[str, Ownership] = {}
        self._active: dict[str, dict[str, str]] = {}
        self._deadline: dict[str, float] = {}
        self._watched: dict[str, float] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {
            Up: self._up,
            Down: self._down,
            Stored: self._stored,
            Restored: self._restored,
            Deadline: self._set_deadline,
            Watched: self._set_watched,
            Powered: self._powered,
        }

    def _stored(self, fact: Stored) -> None:
        if isinstance(fact.new, Ownership):
            self._records[fact.new.group] = fact.new

    def _restored(self, fact: Restored) -> None:
        self._records.clear()

    def _powered(self, fact: Powered) -> None:
        self._deadline.pop(fact.server, None)
        self._watched.pop(fact.server, None)

    def _up(self, fact: Up) -> str | None:
        self._active.setdefault(fact.server, {})[fact.resource] = fact.group
        return self._broken(fact.server)

    def _down(self, fact: Down) -> None:
        self._active.get(fact.server, {}).pop(fact.resource, None)

    def _set_deadline(self, fact: Deadline) -> str | None:
        self._deadline[fact.server] = fact.seconds
        return self._broken(fact.server)

    def _set_watched(self, fact: Watched) -> str | None:
        self._watched[fact.server] = fact.timeout_s
        return self._broken(fact.server)

    def _broken(self, server: str) -> str | None:
        for group in sorted(set(self._active.get(server, {}).values())):
            record = self._records.get(group)
            if record is None or record.owner != server or not record.watchdog_s:
                continue
            d, w = self._deadline.get(server, 0.0), self._watched.get(server, 0.0)
            if not (0 < d <= record.dead_man_s and 0 < w <= record.watchdog_s):
                return (
                    f"{group} runs on {server} under D {d:g}, W {w:g}; it was granted under "
                    f"{record.dead_man_s:g} and {record.watchdog_s:g}"
                )
        return None
