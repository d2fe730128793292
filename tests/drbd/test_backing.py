"""What DRBD lies on: what is made, and what must never be made anew."""

from pathlib import Path

import pytest

from reconciler.adapters.linux import drbd_side
from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import MirrorPlan

SIZE = 16 << 20


def plan(directory: Path, data: str = "") -> MirrorPlan:
    return MirrorPlan(
        name="data",
        server="n1",
        peer="n2",
        data=data or str(directory / "data.img"),
        metadata=str(directory / "data.mirror"),
        size=SIZE,
        port=7788,
        listen=("10.77.1.11",),
        peers=("10.77.1.12",),
    )


async def test_data_that_is_gone_is_not_made_anew_below_metadata_that_calls_it_current(
    tmp_path: Path,
) -> None:
    (tmp_path / "data.mirror.drbd").write_bytes(b"drbd" * 1024)
    with pytest.raises(HostError, match=r"data\.img is not there, but its mirror was built"):
        await DrbdSide("data", tmp_path)._up(plan(tmp_path), None, (8, 4), "")
    assert not (tmp_path / "data.img").exists()


async def test_no_device_is_made_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drbd_side, "DEVICES", f"{tmp_path}/dev/")
    (tmp_path / "dev").mkdir()
    missing = tmp_path / "dev/disk"
    with pytest.raises(HostError, match="dev/disk is not there"):
        await DrbdSide("data", tmp_path)._up(plan(tmp_path, str(missing)), None, (8, 4), "")
    assert not missing.exists()
