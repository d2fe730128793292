"""What a side with DRBD may do, and what it must ask before it goes on."""

from dataclasses import replace

import pytest

from reconciler.drbd import rules
from reconciler.drbd.rules import Ask, Known
from reconciler.drbd.state import Generations, State
from reconciler.mirror.decide import promotion
from reconciler.mirror.decide.promotion import Current

NEW, OLD = "AAAAAAAAAAAAAAA0", "BBBBBBBBBBBBBBB0"
IDS = Generations(NEW, base=OLD, consistent=True, was_primary=True)
BOTH = State("Primary", "UpToDate", "Connected", "Secondary", "UpToDate", "Established")
LOST = replace(BOTH, connection="Connecting", peer_disk="DUnknown", replication="Off")
FROZEN = replace(LOST, suspended=frozenset({"fencing"}))


def _header(disk: str, ids: Generations, begun: str = "") -> promotion.Header:
    state = State("Secondary", disk, "Connecting")
    return rules.header_of("data", state, ids, begun=begun, isolated_until=None)


def _why_not(record: Current | None, disk: str, ids: Generations = IDS) -> str | None:
    return promotion.why_not(record, "n1", _header(disk, ids), "boot", 5)


# -- what it must ask


def test_a_side_that_does_not_serve_asks_nothing() -> None:
    state = replace(FROZEN, role="Secondary")
    assert rules.question(state, IDS, Known(alone=False, told="")) is None


def test_a_lost_peer_is_asked_about_before_anything_goes_on() -> None:
    assert rules.question(FROZEN, IDS, Known(alone=False, told="")) == Ask("alone", NEW)


@pytest.mark.parametrize("disk", ["Diskless", "Failed", "Inconsistent", "Outdated"])
def test_a_peer_that_is_there_without_its_data_stops_the_writes_first(disk: str) -> None:
    """DRBD would acknowledge alone, and the record says that both are current."""
    state = replace(BOTH, peer_disk=disk)
    assert rules.question(state, IDS, Known(alone=False, told="")) == Ask("alone", NEW, hold=True)


def test_a_lost_peer_that_did_not_freeze_the_writes_stops_them() -> None:
    assert rules.question(LOST, IDS, Known(alone=False, told="")) == Ask("alone", NEW, hold=True)


def test_the_generation_that_drbd_began_is_told() -> None:
    assert rules.question(LOST, IDS, Known(alone=True, told=OLD)) == Ask("alone", NEW)
    assert rules.question(LOST, IDS, Known(alone=True, told=NEW)) is None


def test_writes_that_still_stand_still_are_asked_about_again() -> None:
    """Such as after an agent that ended between the answer and DRBD's being told."""
    assert rules.question(FROZEN, IDS, Known(alone=True, told=NEW)) == Ask("alone", NEW)
    user = replace(LOST, suspended=frozenset({"user"}))
    assert rules.question(user, IDS, Known(alone=True, told=NEW, held=True)) == Ask("alone", NEW)
    assert rules.question(user, IDS, Known(alone=True, told=NEW)) is None, "a person did that"


def test_a_peer_that_caught_up_is_asked_for() -> None:
    assert rules.question(BOTH, IDS, Known(alone=True, told=NEW)) == Ask("both", NEW)
    joining = replace(BOTH, peer_disk="Inconsistent", replication="SyncSource")
    assert rules.question(joining, IDS, Known(alone=True, told=NEW)) is None


def test_both_current_and_known_as_such_asks_nothing() -> None:
    assert rules.question(BOTH, IDS, Known(alone=False, told=NEW, both=True)) is None


def test_sides_that_differ_meet_anew_only_after_the_record_names_one() -> None:
    repairs = Known(alone=False, told=NEW, both=True, repairs=True)
    assert rules.question(BOTH, IDS, repairs) == Ask("alone", NEW, hold=True)


def test_an_agent_that_ended_before_it_named_both_begins_again() -> None:
    assert rules.question(BOTH, IDS, Known(alone=False, told=NEW)) == Ask("alone", NEW)


@pytest.mark.parametrize("replication", ["WFBitMapS", "SyncSource", "PausedSyncS", "Off"])
def test_a_peer_that_was_just_met_is_not_current_yet(replication: str) -> None:
    """For a moment DRBD calls both disks up to date, before it compares them."""
    met = replace(BOTH, replication=replication)
    assert rules.question(met, IDS, Known(alone=True, told=NEW)) is None
    assert not rules.may_name_both(met, IDS, Ask("both", NEW))


def test_both_are_named_only_if_nothing_happened_meanwhile() -> None:
    asked = Ask("both", NEW)
    assert rules.may_name_both(BOTH, IDS, asked)
    assert not rules.may_name_both(LOST, IDS, asked)
    assert not rules.may_name_both(BOTH, replace(IDS, current=OLD), asked)


# -- who may serve


def test_a_side_of_the_record_may_serve() -> None:
    for generation in (NEW, OLD):
        assert _why_not(Current(("n1",), generation, 4), "UpToDate") is None


def test_a_side_after_its_reboot_may_serve_if_the_record_names_it() -> None:
    assert _why_not(Current(("n1", "n2"), NEW, 4), "Consistent") is None


@pytest.mark.parametrize("disk", ["Inconsistent", "Outdated", "Diskless", "Failed", "Attaching"])
def test_data_that_is_not_whole_is_never_served(disk: str) -> None:
    assert _why_not(Current(("n1",), NEW, 4), disk) is not None


def test_a_side_that_the_record_does_not_name_is_never_served() -> None:
    assert "only n2" in str(_why_not(Current(("n2",), NEW, 4), "UpToDate"))


def test_another_generation_is_never_served() -> None:
    assert "another generation" in str(_why_not(Current(("n1",), "C" * 16, 4), "UpToDate"))


def test_the_first_start_needs_metadata_that_nobody_wrote() -> None:
    made = Generations("0000000000000004")
    assert _why_not(None, "Inconsistent", made) is None
    assert "no record" in str(_why_not(None, "UpToDate"))
    header = _header("Consistent", Generations(NEW, consistent=True), begun=NEW)
    assert promotion.why_not(None, "n1", header, "boot", 5) is None
    header = _header("Consistent", Generations(NEW, consistent=True), begun=OLD)
    assert promotion.why_not(None, "n1", header, "boot", 5) is not None


# -- what is told


def test_a_serving_side_ends_by_a_refusal_or_with_its_disk() -> None:
    assert rules.over(BOTH, "") == ""
    assert rules.over(BOTH, "another server owns the group") == "another server owns the group"
    assert "disk" in rules.over(replace(BOTH, disk="Diskless"), "")
    assert rules.over(replace(BOTH, role="Secondary", disk="Diskless"), "x") == ""


def test_stages_have_the_words_of_our_own_engine() -> None:
    joining = replace(BOTH, peer_disk="Inconsistent", replication="SyncSource")
    assert [rules.stage(state) for state in (BOTH, joining, LOST)] == ["both", "joining", "alone"]
    assert rules.stage(replace(BOTH, role="Secondary")) == ""


def test_a_split_brain_is_told() -> None:
    state = replace(LOST, connection="StandAlone")
    said = rules.details(state, peer="n2", address="a", asynchronous=False, split=True, limit=0)
    assert said["verdict"] == "split-brain"
    said = rules.details(state, peer="n2", address="a", asynchronous=False, split=False, limit=0)
    assert "stands alone" in said["problem"]
