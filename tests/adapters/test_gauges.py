"""What a server measures of itself, on this very machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.linux.gauges import LinuxGauges
from reconciler.adapters.linux.network import LOOPBACK, LinuxNetwork


@pytest.fixture
def gauges(tmp_path: Path) -> Iterator[LinuxGauges]:
    network = LinuxNetwork(tmp_path)
    yield LinuxGauges(tmp_path, tmp_path / "boot-id", tmp_path / "pki", network, lambda: True)
    network.close()


async def test_an_own_address_is_found_on_its_interface(gauges: LinuxGauges) -> None:
    assert await gauges.interface_for("127.0.0.1") == LOOPBACK


async def test_an_address_that_is_not_here_is_on_none(gauges: LinuxGauges) -> None:
    assert await gauges.interface_for("127.0.0.77") is None, "its subnet alone does not count"
    assert await gauges.interface_for("192.0.2.77") is None


async def test_a_durable_write_takes_time_and_leaves_nothing(
    gauges: LinuxGauges, tmp_path: Path
) -> None:
    assert await gauges.fsync_ms() > 0
    assert not (tmp_path / ".fsync-probe").exists()
