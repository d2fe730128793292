"""A mirror in one word, with reasons and the next command."""

from typing import Any

import pytest

from reconciler.decide.mirror_status import MirrorCheck, MirrorStatus
from reconciler.decide.mirror_view import MirrorState, MirrorView, mirror_view
from reconciler.decide.records import MirrorRecord, Session, StoreLife
from reconciler.decide.stored import StoredRecords

SERVES = {"serving": True, "stage": "both", "connected": True, "epoch": 4}


def view(n1: Any, n2: Any, holders: tuple[str, ...] = ("n1", "n2"), **more: Any) -> MirrorView:
    """What both say; None: that server says nothing."""
    said = {"n1": n1, "n2": n2}
    statuses = {
        (name, "data"): MirrorStatus(resource="data", server=name, boot_id=name, size=100, **fields)
        for name, fields in said.items()
        if fields is not None
    }
    sessions = {
        name: Session(server=name, boot_id=name, incarnation="i", lease=1)
        for name, fields in said.items()
        if fields is not None
    }
    record = MirrorRecord(resource="data", servers=holders, generation="g", epoch=4, **more)
    records = StoredRecords(
        sessions=sessions,
        mirror_status=statuses,
        mirrors={"data": record} if holders else {},
    )
    return mirror_view("data", "db", {"n1": "n1", "n2": "n2"}, records)


@pytest.mark.parametrize(
    ("n1", "n2", "holders", "state", "said"),
    [
        (SERVES, {"connected": True}, ("n1", "n2"), MirrorState.IN_SYNC, ""),
        (SERVES | {"stage": "alone"}, {}, ("n1",), MirrorState.COPYING, "--follow"),
        (SERVES | {"connected": False, "stage": "alone"}, None, ("n1",), "alone", "server/n2"),
        (
            SERVES | {"connected": False, "stage": "alone", "verdict": "split-brain"},
            {},
            ("n1",),
            MirrorState.SPLIT_BRAIN,
            "clusterctl mirror discard data --server n2",
        ),
        (
            SERVES | {"connected": False, "stage": "alone"},
            {"isolated": True},
            ("n1",),
            MirrorState.ALONE,
            "clusterctl mirror rejoin data --server n2",
        ),
        (SERVES | {"suspended": True}, None, ("n1", "n2"), MirrorState.WAITING, "status"),
        (None, {}, ("n1",), MirrorState.STOPPED, "why group/db"),
        ({}, {}, (), MirrorState.NEW, "describe group/db"),
        (SERVES | {"over": "deposed"}, {}, ("n2",), MirrorState.STOPPED, "why"),
    ],
)
def test_the_state_and_what_to_type(
    n1: Any, n2: Any, holders: tuple[str, ...], state: str, said: str
) -> None:
    found = view(n1, n2, holders)
    assert found.state == state
    assert said in found.next_command
    assert found.to_json()["state"] == state


def test_progress_is_of_the_side_that_serves() -> None:
    copying = {"stage": "alone", "copied": 30, "to_copy": 70, "rate": 7, "seconds_left": 10.0}
    found = view(SERVES | copying, {"consistent": False}, ("n1",)).progress
    assert found is not None
    assert (found.percent, found.rate, found.seconds_left) == (30.0, 7, 10.0)


def test_a_comparison_has_a_progress_until_it_has_ended() -> None:
    running = MirrorCheck(done=40, different=1, operation="x")
    found = view(SERVES | {"check": running}, {"connected": True})
    assert found.check is not None
    assert found.check.percent == 40.0
    ended = view(SERVES | {"check": running.model_copy(update={"ended": "done"})}, {})
    assert ended.check is None
    said = ended.to_json()["verify"]
    assert (said["differentParts"], said["partBytes"]) == (1, 1 << 20)


def test_how_old_the_other_sides_data_is() -> None:
    def other(n2: Any, holders: tuple[str, ...] = ("n1", "n2")) -> tuple[bool, float | None]:
        side = view(SERVES, n2, holders).other
        assert side is not None
        return side.has_all, side.as_of_wall

    assert other({"connected": True}) == (True, None)
    assert other({"connected": True, "asynchronous": True, "as_of_wall": 7.0}) == (False, 7.0)
    assert other({"connected": False, "as_of_wall": 5.0}, ("n1",)) == (False, 5.0)
    assert other({}, ("n1",)) == (False, None)


def test_a_server_without_a_session_says_nothing() -> None:
    found = view(SERVES, None)
    assert found.other is not None
    assert found.other.word == "silent"


def test_that_data_was_given_up_is_told() -> None:
    told = view(SERVES, {}, ("n1",), forced_by="alice", given_up=("n2",)).to_json()
    assert (told["forcedBy"], told["givenUp"]) == ("alice", ["n2"])


def test_what_a_server_said_before_it_was_replaced_does_not_count() -> None:
    found = view(SERVES | {"epoch": 3}, SERVES | {"stage": "alone", "connected": False}, ("n2",))
    assert found.serving is not None
    assert found.serving.server == "n2"
    assert found.state == MirrorState.ALONE


def hybrid(**said: dict[str, Any]) -> MirrorView:
    """n1 serves; n2 shares its disk, n4 that of the other side; neither has an engine."""
    said = {
        "n1": SERVES | {"connected": False, "stage": "alone"},
        "n2": {"engine": False},
        "n4": {"engine": False},
        **said,
    }
    statuses = {
        (name, "data"): MirrorStatus(resource="data", server=name, boot_id=name, **fields)
        for name, fields in said.items()
    }
    sessions = {n: Session(server=n, boot_id=n, incarnation="i", lease=1) for n in said}
    record = MirrorRecord(resource="data", servers=("left",), generation="g", epoch=4)
    records = StoredRecords(sessions=sessions, mirror_status=statuses, mirrors={"data": record})
    sides = {"n1": "left", "n2": "left", "n4": "right", "n3": "right"}
    return mirror_view("data", "db", sides, records)


def test_of_a_hybrid_disk_only_the_current_servers_count() -> None:
    found = hybrid(n3={"isolated": True})
    assert found.state is MirrorState.ALONE
    assert "n3: it stands still as a snapshot" in found.reasons
    assert found.next_command.endswith("--server n3")
    assert found.other is not None
    assert found.other.server == "n3"


def test_what_shares_a_disk_has_the_data_of_the_server_that_uses_it() -> None:
    sides = {s.server: s for s in hybrid(n3={"isolated": True, "as_of_wall": 7.0}).sides}
    assert (sides["n2"].word, sides["n2"].reason) == ("idle", "n1 has the disk")
    assert sides["n2"].has_all
    assert (sides["n4"].reason, sides["n4"].as_of_wall) == ("n3 has the disk", 7.0)


def test_a_side_that_nobody_has_is_the_derived_groups_business() -> None:
    found = hybrid(n3={"engine": False})
    assert any("nobody has the disk of right now" in reason for reason in found.reasons)
    assert found.next_command == "clusterctl why group/db-standby"


def test_a_record_from_before_a_restore_names_nobody() -> None:
    said = {"n1": {"generation": "g1"}, "n2": None}
    statuses = {("n1", "data"): MirrorStatus(resource="data", server="n1", boot_id="n1")}
    sessions = {n: Session(server=n, boot_id=n, incarnation="i", lease=1) for n in said}
    record = MirrorRecord(resource="data", servers=("n2",), generation="g", epoch=4)
    records = StoredRecords(
        sessions=sessions,
        mirror_status=statuses,
        mirrors={"data": record},
        store_life=StoreLife(store_id="s", generation=1),
    )
    found = mirror_view("data", "db", {"n1": "n1", "n2": "n2"}, records)
    assert (found.state, found.holders) == (MirrorState.STOPPED, ())
    assert "not settled" in found.reasons[0]
    assert found.reasons[1].startswith("n2: ")
    assert found.next_command == "clusterctl mirror promote data --server SERVER"
    assert not any(side.current for side in found.sides)
