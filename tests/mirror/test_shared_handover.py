"""Real engines of three servers: two share the disk of side a, one after the other; b follows.

The second server of side a has another boot, and finds on the disk what the first one knew.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.mirror.settings import SHARED_METADATA
from tests.mirror.pair import Side, pair, usable
from tests.mirror.test_engine import Counter, _compared, _stored

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.timeout(180),
]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Side, Side, Side]]:
    """(first of side a, second of side a, not started; side b)."""
    with pair(tmp_path) as (a, b):
        a.kill()
        disk = tmp_path / "shared"
        with disk.open("wb") as opened:
            opened.truncate(SHARED_METADATA + a.settings.size)
        a.settings = replace(a.settings, data=str(disk), metadata=str(disk), shared=True)
        other = tmp_path / "other"
        other.mkdir()
        settings = replace(a.settings, directory=str(other), boot="another-boot")
        second = Side(settings, a.cluster)
        a.start()
        try:
            yield a, second, b
        finally:
            second.kill()


@pytest.mark.parametrize("dies", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_next_server_of_a_side_goes_on_with_the_mirror(
    servers: tuple[Side, Side, Side], dies: bool
) -> None:
    first, second, b = servers
    first.promote()
    first.wait(stage="both")
    first.attach(make=True)
    counter = Counter(first)
    counter.wait(100)
    if dies:
        first.kill()
        acknowledged = counter.end()
    else:
        acknowledged = counter.end()
        first.detach()
        assert first.call(do="stop")["clean"]
        assert first.call(do="quit")["ok"]
        assert first.process is not None
        first.process.wait(30)
    second.start()
    second.promote()
    second.attach()
    assert _stored(second) >= acknowledged
    status = second.wait(stage="both")
    assert status["verdict"] == "difference"
    assert _compared(second) == []
    assert b.why_not() is None


@pytest.mark.long
def test_two_servers_never_have_the_disk_at_once(servers: tuple[Side, Side, Side]) -> None:
    _, second, _ = servers
    with pytest.raises(RuntimeError, match="another engine has this mirror"):
        second.start()
    second.process = None  # it has ended by itself


@pytest.mark.long
def test_the_next_server_of_a_following_side_gets_the_difference(
    servers: tuple[Side, Side, Side],
) -> None:
    first, second, b = servers
    b.promote()
    b.wait(stage="both")
    b.attach(make=True)
    counter = Counter(b)
    counter.wait(50)
    first.kill()
    counter.wait(100)
    second.start()
    assert b.wait(stage="both")["verdict"] == "difference"
    counter.wait(150)
    acknowledged = counter.end()
    b.kill()
    second.promote()
    second.attach()
    assert _stored(second) >= acknowledged
