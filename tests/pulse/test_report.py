"""What the agent reports of its lease: when the renewal was sent, not what is left of it."""

import time
from typing import Any

import pytest

from reconciler.pulse.process import Pulse
from tests.pulse.test_pace import configuration
from tests.pulse.test_pace import pulse as pulse


def proof_age(pulse: Pulse, now: float, **report: Any) -> float:
    pulse._obey(configuration(0.05, 4) | {"session_ttl": 10.0}, now)
    pulse._dead_man._proven_at = now - 100.0
    said = pulse._obey({"op": "report", "store": "quorum", **report}, now)
    assert said["op"] == "reported"
    return float(pulse._dead_man.summary(now)["proof_age"])


def test_an_agent_and_a_pulse_with_two_time_outs_of_the_session_agree_on_the_proof(
    pulse: Pulse,
) -> None:
    """An apply changed `sessionTTL` from 10 s to 20 s and only the agent knew: the end of its lease
    made the pulse count from 10 s too late."""
    now = time.monotonic()
    assert proof_age(pulse, now, proven_at=now - 3.0, proof_until=now + 17.0) == 3.0


@pytest.mark.parametrize(("until", "age"), [(7.0, 3.0), (None, 100.0)])
def test_an_agent_of_the_version_before_is_understood(
    pulse: Pulse, until: float | None, age: float
) -> None:
    now = time.monotonic()
    assert proof_age(pulse, now, proof_until=None if until is None else now + until) == age


def test_no_new_proof_lets_the_old_one_age(pulse: Pulse) -> None:
    assert proof_age(pulse, time.monotonic(), proven_at=None, proof_until=None) == 100.0
