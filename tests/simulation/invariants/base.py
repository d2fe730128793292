"""Base of all invariants: facts go to the method of their type, a sentence comes back."""

from collections.abc import Callable
from typing import Any

from tests.simulation.facts import Fact

Handler = Callable[[Any], str | None]


class Invariant:
    """`name` begins each of its sentences. `handlers` maps types of facts to methods."""

    name = ""

    def handlers(self) -> dict[type[Fact], Handler]:
        raise NotImplementedError

    def see(self, fact: Fact) -> str | None:
        """What is broken with this fact, or None."""
        handler = self.handlers().get(type(fact))
        broken = handler(fact) if handler else None
        return f"{self.name}: {broken}" if broken else None
