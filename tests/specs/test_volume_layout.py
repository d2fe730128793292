"""Where volumes lie on their disk, and which changes of the list leave them there."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.volume_layout import ALIGNMENT, Extent, layout, move, needed

MIB = 1 << 20
SIZES = st.lists(st.integers(1, 1 << 20).map(lambda blocks: blocks * 4096), min_size=1, max_size=12)


def named(sizes: list[int]) -> tuple[Extent, ...]:
    return layout((f"v{number}", size) for number, size in enumerate(sizes))


@given(SIZES)
def test_volumes_are_aligned_in_order_and_never_overlap(sizes: list[int]) -> None:
    extents = named(sizes)
    assert [one.size for one in extents] == sizes
    assert extents[0].offset == 0
    for one in extents:
        assert one.offset % ALIGNMENT == 0
        assert one.end <= needed(extents)
    for one, other in pairwise(extents):
        assert one.end <= other.offset < one.end + ALIGNMENT


@given(SIZES, SIZES, st.integers(0, 1 << 20))
def test_what_follows_and_a_larger_last_one_move_nothing(
    sizes: list[int], more: list[int], growth: int
) -> None:
    old = named(sizes)
    new = named([*sizes[:-1], sizes[-1] + growth * 4096, *more])
    assert move(old, new) is None
    assert [one[:2] for one in new[: len(old)]] == [one[:2] for one in old]


@given(SIZES, SIZES)
def test_what_is_allowed_leaves_every_byte_where_it_was(old: list[int], new: list[int]) -> None:
    before, after = named(old), named(new)
    if move(before, after) is None:
        for was, now in zip(before, after, strict=False):
            assert now.offset == was.offset
            assert now.end >= was.end
        for was in before:
            assert not any(
                now.offset < was.end and was.offset < now.end
                for now in after
                if now.name != was.name
            )


OLD = [("data", 10 * MIB), ("wal", 2 * MIB)]


@pytest.mark.parametrize(
    ("new", "number", "text"),
    [
        ([("wal", 2 * MIB), ("data", 10 * MIB)], 0, "'data' has data here"),
        ([("data", 10 * MIB)], None, "'wal' has data and would be missing"),
        ([("data", 10 * MIB), ("new", 2 * MIB), ("wal", 2 * MIB)], 1, "'wal' has data here"),
        ([("data", 11 * MIB), ("wal", 2 * MIB)], 0, "'data' cannot grow: 'wal' follows it"),
        ([("data", 9 * MIB), ("wal", 2 * MIB)], 0, "'data' has 10485760 bytes and cannot shrink"),
        ([("data", 10 * MIB), ("wal", MIB)], 1, "'wal' has 2097152 bytes and cannot shrink"),
    ],
)
def test_what_would_lose_data_is_told(
    new: list[tuple[str, int]], number: int | None, text: str
) -> None:
    found = move(layout(OLD), layout(new))
    assert found is not None
    assert found.number == number
    assert text in found.text


def test_a_disk_without_a_list_becomes_the_first_volume_of_one() -> None:
    whole = layout([("", 10 * MIB)])
    assert move(whole, layout(OLD)) is None
    assert move(whole, layout([("data", 9 * MIB)])) is not None
    assert move(layout(OLD), whole) is not None
    assert move(layout(OLD[:1]), whole) is None
