"""What a fence device says, and whether its command may leave: judged by what else is known."""

from typing import Any

import pytest

from reconciler.decide.fence_execution import ASKED, SILENT, judge_power_off, not_wanted
from reconciler.decide.hearing import PathView, PeersView, PeerView
from reconciler.decide.records import FenceOutcome
from tests.decide.build import Scene

CONFIRMED_AT = 500.0


@pytest.mark.parametrize(
    ("seen", "reason", "wanted"),
    [
        ({"silent": True, "suspect": True}, SILENT, True),
        ({"silent": False, "suspect": True}, SILENT, True),
        ({"silent": False, "suspect": False}, SILENT, False),
        ({"silent": False, "suspect": False}, ASKED, True),
        ({"silent": True, "suspect": True, "pulse_alive": False}, SILENT, False),
        ({"silent": True, "suspect": True, "paused": True}, SILENT, False),
    ],
)
def test_right_before_the_command_the_silence_is_looked_at_again(
    seen: dict[str, Any], reason: str, wanted: bool
) -> None:
    slot = Scene().slot("n3").fence_slot
    assert slot is not None
    peer = PeerView("n3", {}, None, seen["suspect"], seen["silent"])
    alive, paused = seen.get("pulse_alive", True), seen.get("paused", False)
    view = PeersView(taken_at=0.0, peers={"n3": peer}, pulse_alive=alive, paused=paused)
    text = not_wanted(slot.record.model_copy(update={"reason": reason}), view)
    assert (text is None) is wanted


def judge(**changes: Any) -> tuple[FenceOutcome, str]:
    """n3 read on before and off after, on the right device, and nothing of it is heard."""
    heard_at = changes.pop("heard_at", CONFIRMED_AT - 5)
    silent = changes.pop("silent", True)
    peer = PeerView("n3", {"private": PathView(heard_at, 9)}, heard_at, silent, silent)
    values: dict[str, Any] = {
        "before_on": True,
        "after_off": True,
        "guid": "AA-BB",
        "expected_guid": "aabb",
        "peers": PeersView(taken_at=CONFIRMED_AT, peers={"n3": peer}, pulse_alive=True),
        "victim": "n3",
        "confirmed_at": CONFIRMED_AT,
        "answered": {},
    }
    return judge_power_off(**(values | changes))


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        ({}, FenceOutcome.CONFIRMED_OFF),
        ({"guid": None}, FenceOutcome.FAILED),
        ({"guid": None, "expected_guid": None}, FenceOutcome.CONFIRMED_OFF),
        ({"silent": False}, FenceOutcome.CONTRADICTED),
        ({"peers": PeersView(taken_at=0.0, pulse_alive=True)}, FenceOutcome.FAILED),
        ({"peers": PeersView(taken_at=0.0)}, FenceOutcome.FAILED),
        ({"expected_guid": None}, FenceOutcome.CONFIRMED_OFF),
        ({"after_off": False}, FenceOutcome.FAILED),
        ({"guid": "CC-DD"}, FenceOutcome.FAILED),
        ({"heard_at": CONFIRMED_AT + 0.01}, FenceOutcome.CONTRADICTED),
        ({"answered": {"10.0.0.100": "02:00:00:00:00:03"}}, FenceOutcome.CONTRADICTED),
        ({"before_on": False}, FenceOutcome.CONFIRMED_OFF),
        ({"before_on": False, "guid": None}, FenceOutcome.FAILED),
        ({"before_on": False, "expected_guid": None}, FenceOutcome.FAILED),
        ({"before_on": False, "guid": "CC-DD"}, FenceOutcome.FAILED),
        ({"before_on": False, "silent": False}, FenceOutcome.CONTRADICTED),
        ({"before_on": False, "answered": {"a": "m"}}, FenceOutcome.CONTRADICTED),
        ({"before_on": False, "peers": PeersView(taken_at=0.0)}, FenceOutcome.FAILED),
    ],
)
def test_what_a_report_is_worth(report: dict[str, Any], outcome: FenceOutcome) -> None:
    assert judge(**report)[0] is outcome


def test_a_lying_bmc_is_named_with_what_contradicts_it() -> None:
    assert (
        judge(heard_at=CONFIRMED_AT + 1)[1] == "the device says off, but n3 still sends heartbeats"
    )
    answered = {"10.0.0.100": "02:00:00:00:00:03"}
    assert "10.0.0.100 still answers from 02:00:00:00:00:03" in judge(answered=answered)[1]
