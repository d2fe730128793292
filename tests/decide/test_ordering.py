"""In which order resources start: by the level of their type, or as `dependsOn` says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.decide.ordering import Ordered, OrderError, dependencies, levels

ADDRESS, DISK, WORKLOAD = 10, 30, 60


def test_types_order_resources_that_say_nothing() -> None:
    found = levels({"app": Ordered(WORKLOAD), "ip": Ordered(ADDRESS), "data": Ordered(DISK)})
    assert found == (("ip",), ("data",), ("app",))


def test_resources_of_one_level_start_together() -> None:
    found = levels({"b": Ordered(ADDRESS), "a": Ordered(ADDRESS), "app": Ordered(WORKLOAD)})
    assert found == (("a", "b"), ("app",))


def test_depends_on_replaces_the_order_of_the_types() -> None:
    found = levels({"app": Ordered(WORKLOAD, ()), "ip": Ordered(ADDRESS, ("app",))})
    assert found == (("app",), ("ip",))


def test_a_group_without_resources_has_no_levels() -> None:
    assert levels({}) == ()


def test_a_cycle_is_named() -> None:
    cycle = {"a": Ordered(ADDRESS, ("b",)), "b": Ordered(ADDRESS, ("a",)), "c": Ordered(DISK, ())}
    with pytest.raises(OrderError, match="cycle among a, b"):
        levels(cycle)


def test_a_dependency_outside_the_group_is_named() -> None:
    with pytest.raises(OrderError, match="a depends on b"):
        levels({"a": Ordered(ADDRESS, ("b",))})


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sampled_from([10, 30, 60])))
def test_everything_starts_once_and_after_what_it_needs(types: dict[str, int]) -> None:
    resources = {name: Ordered(level) for name, level in types.items()}
    found = levels(resources)
    started: set[str] = set()
    for together in found:
        assert all(dependencies(resources)[name] <= started for name in together)
        started.update(together)
    assert sorted(name for together in found for name in together) == sorted(types)
