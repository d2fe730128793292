"""A new timing does not reach all servers at the same moment: nobody is called silent for that."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.pulse import process
from reconciler.pulse.process import Pulse


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[Pulse]:
    made = Pulse(str(tmp_path / "pulse.sock"), None)
    yield made
    made._paths.close()
    made._link.close()
    made._selector.close()


def configuration(interval: float, misses: int) -> dict[str, Any]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = {"n2": {"address": "127.0.0.1", "port": port}}
    message = {
        "op": "configure",
        "cluster": "demo",
        "server": "n1",
        "boot_id": "b1",
        "keys": ["00" * 32],
        "interval": interval,
        "misses": misses,
        "dead_man": 6.0,
        "session_ttl": 10.0,
        "paths": {"private": {"address": "127.0.0.1", "port": port, "peers": other}},
    }
    copied: dict[str, Any] = json.loads(json.dumps(message))
    return copied


@pytest.mark.parametrize(("before", "after"), [((0.05, 4), (0.5, 6)), ((0.5, 6), (0.05, 4))])
def test_for_a_while_the_faster_one_is_sent_and_the_slower_one_expected(
    pulse: Pulse, before: tuple[float, int], after: tuple[float, int]
) -> None:
    now = time.monotonic()
    assert pulse._obey(configuration(*before), now)["op"] == "configured"
    assert pulse._obey(configuration(*after), now)["op"] == "configured"

    def pace(now: float) -> tuple[float, float]:
        judge = pulse._judge
        assert judge is not None
        pulse._tick_at = now
        pulse._next_tick(now)
        return round(pulse._tick_at - now, 3), judge.settings.interval * judge.settings.misses

    assert pace(now) == (0.05, 3.0)
    pulse._upkeep(now + 1.0)
    assert pace(now + 1.0) == (0.05, 3.0)
    pulse._upkeep(now + process._SETTLE_S)
    assert pace(now + process._SETTLE_S) == (after[0], after[0] * after[1])
