"""What a comparison by DRBD may claim: equal only if everything was looked at."""

from dataclasses import replace

import pytest

from reconciler.drbd import comparison
from reconciler.drbd.comparison import Comparison
from reconciler.drbd.state import Generations, State

A, B = "AAAAAAAAAAAAAAA0", "BBBBBBBBBBBBBBB0"
IDS = Generations(A, consistent=True, was_primary=True)
BOTH = State(
    "Primary", "UpToDate", "Connected", "Secondary", "UpToDate", "Established", size=1 << 25
)
UNDER_WAY = replace(BOTH, replication="VerifyS")
BEGUN = Comparison("x", A)


def test_only_two_sides_in_sync_are_compared() -> None:
    assert comparison.why_not(BOTH) == ""
    assert "ask the other one" in comparison.why_not(replace(BOTH, role="Secondary"))
    assert "not in sync" in comparison.why_not(replace(BOTH, peer_disk="Inconsistent"))
    assert "already" in comparison.why_not(UNDER_WAY)


def test_how_far_it_is() -> None:
    found = comparison.looked_at(BEGUN, UNDER_WAY, IDS, 50.0)
    assert (found.done, found.ended) == (1 << 24, "")
    assert comparison.looked_at(BEGUN, UNDER_WAY, IDS, None).done == 0


@pytest.mark.parametrize(("differs", "parts"), [(0, 0), (4096, 1), (12288, 3)])
def test_what_it_found(differs: int, parts: int) -> None:
    found = comparison.looked_at(BEGUN, replace(BOTH, out_of_sync=differs), IDS, None)
    assert (found.ended, found.different, found.done) == ("done", parts, 1 << 25)
    later = comparison.looked_at(found, replace(BOTH, role="Secondary"), IDS, None)
    assert later == found, "what ended stays as it is"


@pytest.mark.parametrize(
    "state",
    [
        replace(BOTH, connection="Connecting", replication="Off"),
        replace(BOTH, peer_disk="Inconsistent", replication="SyncSource"),
        replace(BOTH, role="Secondary"),
    ],
)
def test_one_that_was_interrupted_found_nothing_out(state: State) -> None:
    assert comparison.looked_at(BEGUN, state, IDS, None).ended not in ("", "done")


def test_a_side_that_was_away_in_between_was_not_compared_to_the_end() -> None:
    """It is back, and got the difference, before anybody looked."""
    found = comparison.looked_at(BEGUN, BOTH, Generations(B, base=A), None)
    assert found.ended == "the other side is not in sync"


def test_it_is_kept_as_it_was() -> None:
    known = replace(BEGUN, repair=True, different=2, ended="done")
    assert comparison.noted(known.to_json()) == known
    assert comparison.noted(None) is None
    assert known.wants_copy
    assert not replace(known, different=0).wants_copy
    assert not replace(known, ended="the other side is not in sync").wants_copy
