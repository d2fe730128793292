"""A store that was restored from a backup: nobody acts on it by itself, and nobody twice."""

from typing import Any

import pytest

from reconciler.decide.actions import Want
from reconciler.decide.leases import may_activate
from reconciler.decide.records import Phase, Session, StoreLife, Wanted
from reconciler.decide.snapshot import KnownStore, Stored
from reconciler.decide.store_life import (
    COUNTER_BITS,
    any_boot,
    doubt,
    left_from_before,
    plan_store,
)
from tests.decide.build import KEYS, NOW, Scene, agent, boot, granted, verdict, written

FLOOR = 1 << COUNTER_BITS


def scene(**life: Any) -> Scene:
    """n1 decides in a store that was restored once; every server has accepted it."""
    made = Scene().group("web").lead("n1")
    made.store_id = "new"
    made.known_store = KnownStore("new", 1, 90)
    record = StoreLife(**{"store_id": "new", "generation": 1, **life})
    made.store_life = Stored(record, 95, NOW - 5)
    for name in ("n1", "n2", "n3"):
        accept(made, name, 1)
    return made


def accept(made: Scene, server: str, generation: int) -> None:
    stored = made.tables["sessions"][server]
    record = stored.record.model_copy(update={"generation": generation})
    assert isinstance(record, Session)
    made.tables["sessions"][server] = Stored(record, stored.mod_revision, stored.seen_at)


CASES = {
    "the same": (KnownStore("new", 1, 90), {}, None),
    "nothing known": (None, {}, None),
    "restored, nobody said so": (KnownStore("old", 0, 90), {"store_id": "old"}, "store restored"),
    "restored, this server is new": (None, {"store_id": "old"}, "store restored"),
    "said": (KnownStore("old", 0, 900), {}, None),
    "said elsewhere of the same generation": (KnownStore("old", 1, 9), {}, "not the store"),
    "older than what was here": (KnownStore("new", 2, 9), {}, "generation 1, 2 was here"),
    "went back": (KnownStore("new", 1, 5000), {}, "went back from revision 5000"),
}


@pytest.mark.parametrize("case", CASES)
def test_which_store_is_acted_upon(case: str) -> None:
    known, life, expected = CASES[case]
    made = scene(**life)
    made.known_store = known
    found = doubt(made.snapshot())
    assert (found is None) == (expected is None)
    assert expected is None or expected in (found or "")


def test_a_record_that_nobody_understands_is_a_doubt() -> None:
    made = scene()
    made.store_life = None
    made.unreadable.add(KEYS.store_life)
    assert "cannot be read" in (doubt(made.snapshot()) or "")


def test_in_doubt_nothing_is_decided_started_or_stopped() -> None:
    made = scene(store_id="old").own("n2").local("web", Phase.ONLINE, epoch=7)
    decision = made.decide()
    assert decision.writes == ()
    assert decision.own_writes == ()
    assert not decision.take_coordinator
    assert decision.local == {}  # it may be ours: what runs goes on
    made.own("n1", epoch=7)
    assert "nobody has said so" in (may_activate(made.snapshot(), "web", 7) or "")


def test_in_doubt_and_isolated_what_runs_is_stopped() -> None:
    made = scene(store_id="old").local("web", Phase.ONLINE, epoch=7)
    made.proof_at = NOW - 100
    for other in ("n2", "n3"):
        made.silence(other, since=100.0)
    assert made.decide().local["web"].want is Want.STOP


def test_the_first_coordinator_says_which_store_it_is() -> None:
    made = Scene().lead("n1")
    assert plan_store(made.snapshot(), KEYS) is None  # without identity
    made.store_id = "new"
    assert written(made.decide(), KEYS.store_life).store_id == "new"


def test_nothing_is_granted_until_every_server_is_proven() -> None:
    made = scene(doubted=("n2", "n3"))
    accept(made, "n3", 0)
    decision = made.decide()
    assert granted(decision) is None
    blocked = verdict(decision)
    assert blocked is not None
    assert blocked.phase is Phase.BLOCKED
    assert "n2, n3" in blocked.reasons[0]
    assert blocked.next_command == "clusterctl fence confirm n2"
    left = written(decision, KEYS.store_life)
    assert left.doubted == ("n3",)  # n2 has a session of this generation
    made.store(decision)
    assert granted(made.decide()) is None
    accept(made, "n3", 1)
    made.settle()
    assert made.tables["ownerships"]["web"].record.epoch == FLOOR + 1


def test_the_clearing_is_bound_to_the_session_that_proves_it() -> None:
    made = scene(doubted=("n2",))
    write = plan_store(made.snapshot(), KEYS)
    assert write is not None
    session = made.tables["sessions"]["n2"]
    assert (KEYS.session("n2"), session.mod_revision) in write.depends


def test_a_fence_proves_all_boots_that_it_covers_and_no_others() -> None:
    made = scene(doubted=("n3",)).no_session("n3")
    made.fenced("n3", covers=(boot("n3"),))
    assert plan_store(made.snapshot(), KEYS) is None
    made.fenced("n3", covers=(any_boot(1),))
    write = plan_store(made.snapshot(), KEYS)
    assert write is not None
    assert isinstance(write.record, StoreLife)
    assert write.record.doubted == ()
    made.fenced("n3", covers=(any_boot(0),))  # of the restore before
    assert plan_store(made.snapshot(), KEYS) is None


def test_a_silent_server_in_doubt_is_fenced_though_it_owns_nothing() -> None:
    made = scene(doubted=("n3",)).no_session("n3").silence("n3").challenge("n3")
    slot = written(made.decide(), KEYS.fence_slot)
    assert slot.victim == "n3"
    assert any_boot(1) in slot.covers


def test_the_owner_of_before_is_forgotten_and_the_group_starts_above_all_old_epochs() -> None:
    made = scene().own("n2", epoch=900)
    decision = made.decide()
    record = written(decision, KEYS.group("web"))
    assert (record.owner, record.epoch, record.previous_owner) == (None, FLOOR, "n2")
    made.store(decision)
    made.settle()
    again = made.tables["ownerships"]["web"].record
    assert (again.owner, again.epoch) == ("n1", FLOOR + 1)


def test_a_group_that_was_stopped_stays_stopped() -> None:
    made = scene().own(None, epoch=3, wanted=Wanted.OFFLINE)
    made.settle()
    assert made.tables["ownerships"]["web"].record.owner is None


def test_an_owner_of_before_does_not_go_on() -> None:
    """Its epoch was never given up, and the old record still names it."""
    made = scene(doubted=("n2",)).own("n1", epoch=7).local("web", Phase.ONLINE, epoch=7)
    accept(made, "n2", 0)
    assert left_from_before(made.snapshot()) == ["web"]
    assert "before" in (may_activate(made.snapshot(), "web", 7) or "")
    want = made.decide().local["web"]
    assert (want.want, want.epoch) == (Want.STOP, FLOOR)


def test_what_runs_at_the_new_epoch_is_not_from_before() -> None:
    made = scene().own("n1", epoch=FLOOR + 1).local("web", Phase.ONLINE, epoch=FLOOR + 1)
    assert left_from_before(made.snapshot()) == []
    assert made.decide().local["web"].want is Want.RUN
    assert may_activate(made.snapshot(), "web", FLOOR + 1) is None


def test_an_agent_of_the_old_generation_is_no_proof() -> None:
    made = scene(generation=2, doubted=("n2",))
    assert made.tables["sessions"]["n2"].record.incarnation == agent("n2")
    assert plan_store(made.snapshot(), KEYS) is None
