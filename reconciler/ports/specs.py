"""Where the agent gets the head revision's specs from."""

from collections.abc import AsyncIterator
from typing import Protocol

from reconciler.decide.snapshot import Specs


class SpecSource(Protocol):
    def changes(self) -> AsyncIterator[Specs]:
        """The head revision as soon as it has a Cluster, then each later one; never ends."""
        ...
