"""`make demo-data`, walked to its end: a database under a power loss loses no acknowledged row."""

import re
from pathlib import Path

import pytest

from clusterctl.demo import data
from tests.integration.lab_under_test import clusterctl, needs_lab
from tests.mirror.pair import usable

pytestmark = [
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
    pytest.mark.skipif(
        not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="no PostgreSQL here"
    ),
]


# closer than the time-out that every lab test has
@pytest.mark.timeout(900)
def test_every_acknowledged_row_survives_a_power_loss_and_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.integration.lab_under_test.COMMAND_TIMEOUT_S", 800.0)
    done = clusterctl("demo", "--data", "--dir", str(tmp_path / "lab"))
    assert "none is missing" in done.stdout
    assert "both sides are equal" in done.stdout
    assert "of 256 MiB were copied" in done.stdout
    assert re.search(r"^  row +\d+ +\+\d+ +client ", done.stdout, re.MULTILINE)
    counted = [
        int(number)
        for number in re.findall(
            r"^  (?:power loss|planned move).* all (\d+) are", done.stdout, re.M
        )
    ]
    assert counted[0] >= 200
    assert counted[1] > counted[0]
    assert data.EXAMPLE.is_dir()
