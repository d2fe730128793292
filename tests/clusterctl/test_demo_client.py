"""The clients of the demos: what their programs tell is heard, and none outlives its story."""

import sys
from pathlib import Path

import pytest

from clusterctl.demo.data import RowClient
from clusterctl.demo.story import Client, Lab
from clusterctl.failure import Failure

OUTAGE = '{"event": "outage", "ms": 400.5, "began": 1, "ended": 2, '
TO_THE_OTHER = OUTAGE + '"before": "n1", "after": "n2"}'
TO_THE_SAME = OUTAGE + '"before": "n1", "after": "n1"}'
MISSED = OUTAGE + '"acknowledged": 7, "missing": 0, "unanswered": 1}'
ROWS = '{"event": "rows", "acknowledged": 9}'
END = '{"event": "end", "acknowledged": 11, "missing": 2}'
READY = '{"event": "ready"}'


def program(*lines: str, end: str = "") -> list[str]:
    """Says these lines, and `end` when its input ends."""
    code = f"import sys; print(*{lines!r}, sep='\\n', flush=True); sys.stdin.read(); print({end!r})"
    return [sys.executable, "-S", "-c", code.replace("print('')", "")]


async def test_outages_are_found_by_who_answers_after_them() -> None:
    client = Client(Lab(Path("/nowhere")))
    client._argv = program(READY, TO_THE_SAME, TO_THE_OTHER)
    async with client:
        assert (await client.next_outage(0)).after == "n2"
        assert (await client.next_outage(0, same_server=True)).after == "n1"
        with pytest.raises(Failure, match=r"was not answered again within 0 s"):
            await client.next_outage(2, timeout_s=0.01)


async def test_rows_are_counted_up_to_the_last_word() -> None:
    client = RowClient(Lab(Path("/nowhere")))
    client._argv = program(READY, MISSED, ROWS, end=END)
    async with client:
        await client.until(lambda: client.acknowledged == 9, "no rows")
        assert (await client.next_outage(0)).unanswered == 1
    assert (client.acknowledged, client.missing) == (11, 2)


async def test_a_client_that_nobody_answers_is_ended() -> None:
    client = Client(Lab(Path("/nowhere")))
    client._argv = program(TO_THE_SAME)
    client._limit_s = 5.0
    client.until = lambda *_: until(client, 0.2)  # type: ignore[method-assign]
    with pytest.raises(Failure, match="nothing answered"):
        async with client:
            raise AssertionError
    assert client._process is not None
    assert client._process.returncode == 0


async def until(client: Client, limit_s: float) -> None:
    await Client.until(client, lambda: client._is_ready, "nothing answered the client", limit_s)
