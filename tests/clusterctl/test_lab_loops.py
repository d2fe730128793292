"""Loop devices of a lab whose files cannot be asked for."""

import errno
from pathlib import Path

import pytest

from clusterctl.lab import loops


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ENXIO])
def test_a_device_whose_file_lost_its_program_stops_no_power_off(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def asked(device: str, detach_from: loops.Backing | None) -> loops.Backing:
        assert detach_from is None, f"{device} may be anybody's"
        raise OSError(number, "no answer")

    monkeypatch.setattr(loops, "_asked", asked)
    monkeypatch.setattr(loops.Path, "glob", lambda *_: [tmp_path / "loop7" / "loop"])
    (tmp_path / "loop7" / "loop").mkdir(parents=True)
    (tmp_path / "loop7" / "loop" / "autoclear").write_text("0\n")
    assert loops.detach(tmp_path) == 0
