"""The order of a group's resources as the group runner uses it: `decide.ordering` on their specs.

Every function raises `ResourceError` for dependencies without an order.
"""

from collections.abc import Iterable, Mapping

from reconciler.decide.ordering import Ordered, OrderError, dependencies
from reconciler.decide.ordering import levels as start_levels
from reconciler.ports.driver import ResourceError
from specs.resource import Resource

DEFAULT_LEVEL = 60


def ordered(resource: Resource) -> Ordered:
    """What `decide.ordering` needs of a resource."""
    level = int(getattr(resource.spec, "level", DEFAULT_LEVEL))
    return Ordered(level=level, depends_on=resource.spec.depends_on)


def wanted(resources: Mapping[str, Resource], stopped: Iterable[str]) -> dict[str, Resource]:
    """What is to run of a group: all but the stopped, and but those that name one in dependsOn."""
    rest = set(stopped)
    needs = _needs(resources)
    explicit = {n for n, r in resources.items() if r.spec.depends_on is not None}
    while more := {n for n in explicit if needs[n] & rest} - rest:
        rest |= more
    return {name: r for name, r in resources.items() if name not in rest}


def levels(resources: Mapping[str, Resource]) -> tuple[tuple[str, ...], ...]:
    """Names in start order; those of one tuple start in parallel."""
    within = {name: ordered(r).within(set(resources)) for name, r in resources.items()}
    try:
        return start_levels(within)
    except OrderError as error:
        raise ResourceError(str(error), retry=False) from error


def with_dependents(names: Iterable[str], resources: Mapping[str, Resource]) -> list[str]:
    """These resources and everything that depends on one of them."""
    within = {name: ordered(r).within(set(resources)) for name, r in resources.items()}
    needs = dependencies(within)
    chosen = set(names)
    while more := {n for n, on in needs.items() if on & chosen} - chosen:
        chosen |= more
    return sorted(chosen)


def _needs(resources: Mapping[str, Resource]) -> dict[str, frozenset[str]]:
    try:
        return dependencies({name: ordered(r) for name, r in resources.items()})
    except OrderError as error:
        raise ResourceError(str(error), retry=False) from error
