"""One word for a monitor that several servers watch: the worst that still counts."""

import pytest

from reconciler.decide.monitor_status import monitor_view
from reconciler.decide.records import MonitorState, MonitorStatus, Session
from reconciler.decide.stored import StoredRecords, read_records
from tests.decide.build import KEYS


def records(gone: str = "", **states: MonitorState) -> StoredRecords:
    items = []
    for server, state in states.items():
        status = MonitorStatus(monitor="m", server=server, state=state, reason=f"seen by {server}")
        items.append((KEYS.monitor_status(server, "m"), status.to_bytes()))
        session = Session(server=server, boot_id="b", incarnation="i", lease=1)
        if server != gone:
            items.append((KEYS.session(server), session.to_bytes()))
    return read_records(KEYS, items)


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        ({}, "unknown"),
        ({"n1": "healthy", "n2": "offline"}, "healthy"),
        ({"n1": "offline", "n2": "offline"}, "offline"),
        ({"n1": "healthy", "n2": "suspect"}, "suspect"),
        ({"n1": "parked", "n2": "faulty"}, "parked"),
    ],
)
def test_the_worst_word_wins(states: dict[str, str], worst: str) -> None:
    found = records(**{server: MonitorState(state) for server, state in states.items()})
    assert monitor_view("m", found).state == worst


def test_old_green_of_a_server_without_a_session_is_not_green() -> None:
    view = monitor_view("m", records(gone="n1", n1=MonitorState.HEALTHY))
    assert view.state is MonitorState.UNKNOWN
    assert view.to_json()["reasons"] == ["n1 has no session"]


def test_reasons_are_those_of_the_worst_and_green_needs_none() -> None:
    both = monitor_view("m", records(n1=MonitorState.HEALTHY, n2=MonitorState.FAULTY))
    assert both.to_json()["reasons"] == ["seen by n2"]
    assert both.on == ("n1", "n2")
    green = monitor_view("m", records(n1=MonitorState.HEALTHY, n2=MonitorState.OFFLINE))
    assert green.to_json()["reasons"] == []
    assert green.on == ("n1",)
