"""The judges of real faults refuse histories in which a promise was broken; some runs, for real."""

from typing import Any

import pytest

from tests.mirror.faults.__main__ import play
from tests.mirror.faults.checks import violations
from tests.mirror.faults.kinds import KINDS
from tests.mirror.pair import usable

Event = dict[str, Any]

GOOD: list[Event] = [
    {"event": "record", "servers": ["a"]},
    {"event": "acknowledged", "number": 7, "issued": 8},
    {"event": "refused", "server": "b", "why": "only a has all acknowledged data"},
    {"event": "record", "servers": ["a"]},
    {"event": "promoted", "server": "a", "current": ["a"]},
    {"event": "found", "server": "a", "number": 8, "missing": []},
    {"event": "kept", "intact": True},
    {"event": "fsck", "server": "a", "code": 0},
    {"event": "compared", "equal": True},
]


def _changed(at: int, **fields: Any) -> list[Event]:
    return [*GOOD[:at], {**GOOD[at], **fields}, *GOOD[at + 1 :]]


def test_a_run_that_kept_its_promises_passes() -> None:
    assert violations(GOOD, asynchronous=False) == []


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (_changed(5, number=6), "but 7 was acknowledged"),
        (_changed(5, missing=[3]), "no prefix"),
        (_changed(5, number=9), "which nobody wrote"),
        (_changed(4, server="b"), "only ['a'] is current"),
        (_changed(3, servers=["a", "b"]), "the record names ['a', 'b']"),
        (_changed(6, intact=False), "earlier run"),
        (_changed(7, code=4), "has errors"),
        (_changed(8, equal=False), "differ"),
        ([*GOOD, {"event": "stuck", "why": "TimeoutError"}], "come together"),
    ],
)
def test_each_broken_promise_is_seen(history: list[Event], words: str) -> None:
    found = violations(history, asynchronous=False)
    assert any(words in sentence for sentence in found), found


def test_an_asynchronous_mirror_may_lack_the_last_writes_but_none_in_the_middle() -> None:
    assert violations(_changed(5, number=2), asynchronous=True) == []
    assert violations(_changed(5, number=2, missing=[1]), asynchronous=True)


@pytest.mark.integration
@pytest.mark.long
@pytest.mark.skipif(usable() is not None, reason=usable() or "")
@pytest.mark.timeout(600)
def test_some_runs_for_real() -> None:
    for run in play(24, 11, [*KINDS], 8.0):
        assert run["violations"] == [], run
