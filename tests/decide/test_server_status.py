"""What people are told about a server."""

from dataclasses import replace

from reconciler.decide.records import (
    Answer,
    Challenge,
    FenceIntent,
    FenceOutcome,
    FenceRecord,
    FencingTest,
    Ownership,
    ServerStatus,
    Session,
)
from reconciler.decide.server_status import server_view
from reconciler.decide.stored import StoredRecords

N1 = Session(server="n1", boot_id="b1", incarnation="i1", lease=1, version="0.1.0")
N2 = Session(server="n2", boot_id="b2", incarnation="i2", lease=2)
REPORT = ServerStatus(
    server="n1",
    boot_id="b1",
    incarnation="i1",
    heartbeats={"n2": {"private": "heard"}},
    at_wall=50.0,
)
HEARS_N1 = ServerStatus(
    server="n2",
    boot_id="b2",
    incarnation="i2",
    heartbeats={"n1": {"private": "silent", "public": "heard"}},
    fencing=(FencingTest(server="n1", level=0, ok=True, detail="login ok", at_wall=90.0),),
)
FENCED = FenceRecord(
    server="n1", covers=("b1",), outcome=FenceOutcome.CONFIRMED_OFF, executor="n2", at_wall=60.0
)


def test_online_with_session_and_its_own_heartbeats() -> None:
    view = server_view("n1", StoredRecords(sessions={"n1": N1}, server_status={"n1": REPORT}))
    assert (view.state, view.boot_id, view.version) == ("online", "b1", "0.1.0")
    assert view.heartbeats == {"n2": {"private": "heard"}}


def test_heartbeats_of_an_old_boot_are_not_shown() -> None:
    again = N1.model_copy(update={"boot_id": "b9"})
    view = server_view("n1", StoredRecords(sessions={"n1": again}, server_status={"n1": REPORT}))
    assert view.state == "online"
    assert view.boot_id == "b9"
    assert view.heartbeats == {}


def test_suspect_while_a_challenge_is_unanswered() -> None:
    challenge = Challenge(server="n1", challenger="n2", nonce="x")
    base = StoredRecords(sessions={"n1": N1}, challenges={"n1": challenge})
    assert server_view("n1", base).state == "suspect"
    stale = StoredRecords(
        sessions={"n1": N1},
        challenges={"n1": challenge},
        answers={"n1": Answer(server="n1", boot_id="b1", nonce="older")},
    )
    assert server_view("n1", stale).state == "suspect"
    answered = StoredRecords(
        sessions={"n1": N1},
        challenges={"n1": challenge},
        answers={"n1": Answer(server="n1", boot_id="b1", nonce="x")},
    )
    assert server_view("n1", answered).state == "online"


def test_a_dead_pulse_is_suspect_until_somebody_hears_it_again() -> None:
    found = StoredRecords(
        sessions={"n1": N1},
        challenges={"n1": Challenge(server="n1", challenger="n2", nonce="x")},
        answers={"n1": Answer(server="n1", boot_id="b1", nonce="x", pulse_alive=False)},
    )
    assert server_view("n1", found).state == "suspect"
    heard = replace(found, sessions={"n1": N1, "n2": N2}, server_status={"n2": HEARS_N1})
    assert server_view("n1", heard).state == "online"


def test_suspect_while_a_fence_is_in_progress() -> None:
    slot = FenceIntent(
        victim="n1", covers=("b1",), executor="n2", executor_incarnation="i2",
        level=0, attempt=1, valid_for_s=5,
        requested_by="n2", reason="silent on all paths",
    )  # fmt: skip
    view = server_view("n1", StoredRecords(sessions={"n1": N1}, fence_slot=slot))
    assert view.state == "suspect"
    assert view.fence_in_progress == "n2: silent on all paths"


def test_fenced_only_with_a_proof_and_only_until_it_comes_back() -> None:
    view = server_view("n1", StoredRecords(fences={"n1": FENCED}, server_status={"n1": REPORT}))
    assert view.state == "fenced"
    failed = FENCED.model_copy(update={"outcome": FenceOutcome.FAILED})
    view = server_view("n1", StoredRecords(fences={"n1": failed}, server_status={"n1": REPORT}))
    assert view.state == "offline"
    assert any("last fence failed" in reason for reason in view.reasons)
    lingers = server_view("n1", StoredRecords(fences={"n1": FENCED}, sessions={"n1": N1}))
    assert lingers.state == "fenced"
    new_boot = N1.model_copy(update={"boot_id": "b9"})
    back = server_view("n1", StoredRecords(fences={"n1": FENCED}, sessions={"n1": new_boot}))
    assert back.state == "online"
    later = REPORT.model_copy(update={"boot_id": "b9", "at_wall": 99.0})
    gone = server_view("n1", StoredRecords(fences={"n1": FENCED}, server_status={"n1": later}))
    assert gone.state == "offline"


def test_an_owner_without_session_and_proof_is_unknown_not_offline() -> None:
    own = Ownership(group="web", epoch=1, owner="n1", boot_id="b1")
    view = server_view("n1", StoredRecords(groups={"web": own}, server_status={"n1": REPORT}))
    assert view.state == "unknown"
    assert "still owns web" in view.reasons[0]
    assert view.groups == ("web",)


def test_without_session_but_heard_is_suspect() -> None:
    found = StoredRecords(sessions={"n2": N2}, server_status={"n1": REPORT, "n2": HEARS_N1})
    view = server_view("n1", found)
    assert view.state == "suspect"
    assert view.heard_by == ("n2",)


def test_never_seen_is_unknown() -> None:
    assert server_view("n9", StoredRecords()).state == "unknown"


def test_self_tests_come_from_each_server_with_their_age() -> None:
    found = StoredRecords(sessions={"n1": N1, "n2": N2}, server_status={"n2": HEARS_N1})
    view = server_view("n1", found, now_wall=100.0, fencing_levels=("ipmi",))
    assert view.fencing_ok is True
    fencing = view.to_json()["fencing"]
    assert fencing["levels"] == ["ipmi"]
    assert fencing["tests"][0]["by"] == "n2"
    assert fencing["tests"][0]["ageSeconds"] == 10.0
    assert fencing["last"] is None


def test_a_self_test_of_a_server_that_is_away_is_a_memory() -> None:
    view = server_view("n1", StoredRecords(sessions={"n1": N1}, server_status={"n2": HEARS_N1}))
    assert view.fencing_ok is None
    assert not view.tests[0].live
