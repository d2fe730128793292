"""No resource is active on two servers at once."""

from tests.simulation.facts import Down, Fact, Up
from tests.simulation.invariants.base import Handler, Invariant


class NoDoubleActive(Invariant):
    name = "no_double_active"

    def __init__(self) -> None:
        self._active: dict[tuple[str, str], int] = {}

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Down: self._down}

    def _up(self, fact: Up) -> str | None:
        self._active[fact.resource, fact.server] = fact.epoch
        for (resource, server), epoch in self._active.items():
            if resource == fact.resource and server != fact.server:
                return (
                    f"{resource} starts on {fact.server} at epoch {fact.epoch} while {server} "
                    f"runs it at epoch {epoch}"
                )
        return None

    def _down(self, fact: Down) -> None:
        self._active.pop((fact.resource, fact.server), None)
