"""Groups that want a server for themselves never share one."""

from tests.simulation.facts import Down, Exclusive, Fact, Up
from tests.simulation.invariants.base import Handler, Invariant


class ExclusionKept(Invariant):
    name = "exclusion_kept"

    def __init__(self) -> None:
        self._groups: tuple[str, ...] = ()
        self._active: dict[str, dict[str, str]] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Exclusive: self._exclusive, Up: self._up, Down: self._down}

    def _exclusive(self, fact: Exclusive) -> None:
        self._groups = fact.groups

    def _up(self, fact: Up) -> str | None:
        here = self._active.setdefault(fact.server, {})
        here[fact.resource] = fact.group
        others = {group for group in here.values() if group != fact.group} & set(self._groups)
        if fact.group not in self._groups or not others:
            return None
        return f"{fact.resource} starts on {fact.server} beside group {sorted(others)[0]}"

    def _down(self, fact: Down) -> None:
        self._active.get(fact.server, {}).pop(fact.resource, None)
