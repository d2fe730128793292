"""Schedules of the simulator, and its teeth: each rule taken away is noticed."""

from dataclasses import replace

import pytest

from reconciler.mirror.decide import promotion
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Metadata
from reconciler.mirror.periods import Periods
from reconciler.mirror.primary import Primary
from reconciler.mirror.secondary import Secondary
from reconciler.mirror.wire import Message, Op
from tests.mirror.simulation import beside
from tests.mirror.simulation.play import run_seed


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_no_schedule_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + 10):
        assert run_seed(seed).violation == ""


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(1000, 3000, 200))
def test_many_schedules(first: int) -> None:
    for seed in range(first, first + 200):
        assert run_seed(seed).violation == ""


def _found(seeds: range, asynchronous: bool | None = False) -> str:
    for seed in seeds:
        try:
            violation = run_seed(seed, asynchronous).violation
        except AssertionError as error:
            violation = str(error)
        if violation:
            return violation
    return ""


def test_a_side_that_does_not_ask_the_record_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def granted_by_nobody(self: Primary) -> None:
        self._metadata.save(pending=(self._world.new_id(),))
        self.suspended = True
        self._alone()

    monkeypatch.setattr(Primary, "_suspend", granted_by_nobody)
    assert _found(range(40))


def test_an_answer_before_the_peers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Primary, "_waits", lambda self: False)
    assert "lost" in _found(range(40))


def test_forgetting_what_the_peer_did_not_flush_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Periods, "__iter__", lambda self: iter(()))
    assert _found(range(40))


def test_a_missing_activity_log_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Metadata, "touch", lambda self, offset, length: None)
    assert "differ" in _found(range(8, 30))


def test_promoting_whoever_asks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "why_not", lambda *found: None)
    assert _found(range(20))


def test_an_asynchronous_side_that_lost_power_may_not_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule = promotion.why_not

    def forgiving(
        record: promotion.Current | None, server: str, header: Header, boot: str
    ) -> str | None:
        return rule(record, server, replace(header, boot=boot), boot)

    monkeypatch.setattr(promotion, "why_not", forgiving)
    assert _found(range(5, 40), asynchronous=True)


def test_a_server_that_keeps_writes_in_its_cache_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a disk that two servers share: the next one does not see them."""
    monkeypatch.setattr(beside, "let_go", lambda node: None)
    assert _found(range(40, 100))


def test_a_comparison_finds_writes_that_were_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """In sync, but for what this hides."""
    apply = Secondary.write

    def forgetful(self: Secondary, message: Message) -> None:
        if message.op is not Op.WRITE or message.seq % 7 or self.disk.metadata.header.bases:
            apply(self, message)

    monkeypatch.setattr(Secondary, "write", forgetful)
    assert _found(range(20))
