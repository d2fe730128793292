"""Who copies to whom, and who may serve."""

from dataclasses import replace

import pytest

from reconciler.mirror.decide.lineage import Meeting, compare
from reconciler.mirror.decide.promotion import Current, alone, both, why_not
from reconciler.mirror.header import KEPT, Header

BUILT = Header("md", 1 << 20, "g1", fresh=False)
SERVING = BUILT.with_generation("g2")
OTHER = replace(BUILT, current="x9", history=("x8",))


@pytest.mark.parametrize(
    ("target", "meeting"),
    [
        (BUILT, Meeting.DIFFERENCE),
        (replace(BUILT, current="g2"), Meeting.DIFFERENCE),
        (replace(BUILT, consistent=False), Meeting.DIFFERENCE),
        (replace(BUILT, current="new", fresh=True), Meeting.FULL),
        (OTHER, Meeting.SPLIT),
        (replace(OTHER, discard=True), Meeting.FULL),
        (BUILT.with_generation("b2"), Meeting.SPLIT),
        (replace(BUILT.with_generation("b2"), discard=True), Meeting.DIFFERENCE),
        (SERVING.with_generation("g3"), Meeting.STALE),
        (replace(BUILT, floor=8), Meeting.STALE),
        (replace(BUILT, size=1), Meeting.REFUSED),
        (replace(BUILT, size=2 << 20), Meeting.DIFFERENCE),
        (replace(BUILT, resource="other"), Meeting.REFUSED),
        (replace(BUILT, isolated=True), Meeting.REFUSED),
    ],
)
def test_what_two_sides_make_of_each_other(target: Header, meeting: Meeting) -> None:
    assert compare(SERVING, target, 7).meeting is meeting


def test_a_side_that_is_far_behind_is_copied_in_full() -> None:
    serving = replace(SERVING.with_generation("g3"), bases=("g2",))
    assert compare(serving, BUILT, 7).meeting is Meeting.FULL


def test_the_oldest_base_is_kept_however_often_it_goes_alone() -> None:
    header = BUILT
    for number in range(3 * KEPT):
        header = header.with_generation(f"n{number}")
    assert header.bases[0] == "g1"
    assert len(header.bases) == KEPT


BOTH = Current(("a", "b"), "g1", 5)


@pytest.mark.parametrize(
    ("record", "header", "may"),
    [
        (BOTH, BUILT, True),
        (BOTH, replace(BUILT, consistent=False), False),
        (BOTH, replace(BUILT, isolated=True), False),
        (BOTH, SERVING, False),
        (BOTH, replace(BUILT, current="g0", pending=("g1",)), True),
        (Current(("b",), "g1", 5), BUILT, False),
        (None, BUILT, False),
        (None, replace(BUILT, fresh=True), True),
        (BOTH, replace(BUILT, order_kept=True, clean=False, boot="old"), False),
        (BOTH, replace(BUILT, order_kept=True, clean=False, boot="now"), True),
        (BOTH, replace(BUILT, clean=False, boot="old"), True),
        (BOTH, replace(BUILT, order_kept=True, clean=False, boot="old", primary=True), True),
    ],
)
def test_only_a_side_with_all_acknowledged_data_serves(
    record: Current | None, header: Header, may: bool
) -> None:
    assert (why_not(record, "a", header, "now") is None) is may


def test_alone_is_granted_to_a_current_server_only() -> None:
    assert alone(BOTH, "a", 5, "g2") == Current(("a",), "g2", 5)
    assert alone(Current(("b",), "g1", 5), "a", 5, "g2") is None
    assert alone(BOTH, "a", 4, "g2") is None
    assert alone(None, "a", 1, "g2") == Current(("a",), "g2", 1)


def test_both_is_granted_for_the_generation_that_is_in_force() -> None:
    record = Current(("a",), "g2", 5)
    assert both(record, "a", "b", 5, "g2") == Current(("a", "b"), "g2", 5)
    assert both(record, "a", "b", 5, "g1") is None
    assert both(record, "a", "b", 4, "g2") is None
    assert both(record, "b", "a", 5, "g2") is None
    assert both(None, "a", "b", 5, "g2") is None
