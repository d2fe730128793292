"""The journal: every event is filed and queued, secrets are not, and retries do not flood it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.journal import RETRIED_EVERY_S, Journal
from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.decide.keys import Keys


class SetClock:
    """Stands where the test puts it."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_700_000_000.0 + self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def journal(clock: SetClock, file: Path) -> Journal:
    return Journal("n1", Keys("demo"), clock, file)


def filed(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_events_are_filed_for_root_only(journal: Journal, file: Path) -> None:
    journal.emit("group_online", group="web", epoch=3)
    (event,) = filed(file)
    assert (event["name"], event["server"]) == ("group_online", "n1")
    assert event["fields"] == {"group": "web", "epoch": 3}
    assert file.stat().st_mode & 0o777 == 0o600


def test_secrets_are_left_out(journal: Journal, file: Path) -> None:
    journal.emit("pulse_warned", warning="w", bmc_password="geheim", join_token="geheim")
    assert "geheim" not in file.read_text()


def test_what_is_not_retried_is_always_told(journal: Journal, file: Path) -> None:
    for _ in range(3):
        journal.emit("resource_drifted", group="web", resource="web-ip")
    assert len(filed(file)) == 3


def test_a_retry_is_told_at_once_and_then_now_and_then(
    journal: Journal, file: Path, clock: SetClock
) -> None:
    for number in range(5):
        journal.emit("session_renewal_failed", error=f"try {number}")
    assert [event["fields"] for event in filed(file)] == [{"error": "try 0"}]
    clock.at += RETRIED_EVERY_S
    journal.emit("session_renewal_failed", error="still away")
    assert filed(file)[-1]["fields"] == {"error": "still away", "repeated": 4}


def test_retries_of_different_groups_are_different(journal: Journal, file: Path) -> None:
    journal.emit("activation_waits", group="web", epoch=1, reason="r")
    journal.emit("activation_waits", group="db", epoch=1, reason="r")
    assert [event["fields"]["group"] for event in filed(file)] == ["web", "db"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the store's content has no event to wait for
            await asyncio.sleep(0.005)


async def test_a_lost_lease_is_replaced(journal: Journal, clock: SetClock) -> None:
    """Events would else be kept out of the store for up to an hour."""
    memory = MemoryState(MonotonicClock())
    store = MemoryStore(memory)
    journal.emit("group_online", group="web", epoch=1)
    task = asyncio.create_task(journal.publish(store))
    await until(lambda: len(memory.list("/").items) == 1)
    memory.revoke(journal._lease)
    assert not memory.list("/").items
    journal.emit("group_online", group="web", epoch=2)
    await until(lambda: len(memory.list("/").items) == 1)
    task.cancel()
    assert clock.at < 110  # at the next try, not when the lost one would have been renewed
