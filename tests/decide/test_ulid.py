"""Ids sort by time and are made of exactly what the caller brings."""

import pytest

from reconciler.decide.ulid import ulid


def test_ids_sort_by_time() -> None:
    early, late = ulid(1000.0, b"\xff" * 10), ulid(1000.001, b"\x00" * 10)
    assert early < late
    assert len(early) == 26


def test_the_same_input_gives_the_same_id() -> None:
    assert ulid(0.0, bytes(10)) == "0" * 26
    assert ulid(281474976710.655, b"\xff" * 10) == "7" + "Z" * 25


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        ulid(0.0, b"x")
    with pytest.raises(ValueError, match="does not fit"):
        ulid(-1.0, bytes(10))
