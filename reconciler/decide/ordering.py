"""In which order the resources of a group start and stop. Pure; called by the group runner,
`clusterctl diff` and the impact estimates."""

from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ordered:
    """What ordering needs to know of one resource: the level of its type, and the names in its
    `dependsOn`, or None when it has none and follows the levels."""

    level: int
    depends_on: tuple[str, ...] | None = None

    def within(self, names: Set[str]) -> "Ordered":
        """The same among these resources only: what is not there is not waited for."""
        if self.depends_on is None:
            return self
        return Ordered(self.level, tuple(n for n in self.depends_on if n in names))


class OrderError(ValueError):
    """The dependencies have no order: a cycle, or a name that is not in the group."""


def dependencies(resources: Mapping[str, Ordered]) -> dict[str, frozenset[str]]:
    """What each resource waits for: its `dependsOn`, else everything of a lower type level."""
    found: dict[str, frozenset[str]] = {}
    for name, resource in resources.items():
        if resource.depends_on is None:
            lower = (other for other, its in resources.items() if its.level < resource.level)
            found[name] = frozenset(lower)
            continue
        missing = sorted(set(resource.depends_on) - set(resources))
        if missing:
            raise OrderError(f"{name} depends on {missing[0]}, which is not in its group")
        found[name] = frozenset(resource.depends_on)
    return found


def levels(resources: Mapping[str, Ordered]) -> tuple[tuple[str, ...], ...]:
    """Names in start order; those of one tuple start in parallel. Reversed it is the stop order.

    Raises `OrderError` for a cycle or an unknown name. The same input gives the same order.
    """
    waiting = dependencies(resources)
    ordered: list[tuple[str, ...]] = []
    done: set[str] = set()
    while waiting:
        ready = tuple(sorted(name for name, needs in waiting.items() if needs <= done))
        if not ready:
            raise OrderError(f"dependency cycle among {', '.join(sorted(waiting))}")
        ordered.append(ready)
        done.update(ready)
        for name in ready:
            del waiting[name]
    return tuple(ordered)
