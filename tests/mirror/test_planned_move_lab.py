"""A planned move of an asynchronous mirror on a real lab loses nothing: what cannot be handed over
keeps the group where its data is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.lab_under_test import LabUnderTest, clusterctl, needs_lab
from tests.mirror.pair import usable
from tests.mirror.test_mirror_lab import SPECS
from tests.mirror.test_operator_lab import is_in, mirror, online, row, rows

pytestmark = [
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]

ASYNC = SPECS.replace("  stopTimeout: 60s\n", "  stopTimeout: 20s\n") + (
    "  mode: async\n  queueLimit: 32MiB\n  peerTimeout: 60s\n"
)
ENGINES = (
    "for p in /proc/[0-9]*; do grep -qs 'reconciler[.]mirror' $p/cmdline && echo ${p#/proc/}; done"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    shown = (("mirror", "status", "data"), ("events",))
    with LabUnderTest.running(tmp_path / "lab", "--servers", "3", shown=shown) as found:
        yield found


def signal_engine(lab: LabUnderTest, node: str, name: str) -> None:
    code, _, errors = lab.run(node, "sh", "-c", f"kill -{name} $({ENGINES})")
    assert code == 0, errors


# closer than the time-out that every lab test has
@pytest.mark.timeout(900)
def test_a_tail_that_cannot_be_handed_over_keeps_the_group(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    specs = tmp_path / "mirror.yaml"
    specs.write_text(ASYNC)
    clusterctl("apply", "-f", str(specs))
    online("n1")
    is_in("in-sync")
    row(lab, "n1", "first")
    signal_engine(lab, "n2", "STOP")
    try:
        row(lab, "n1", "tail")
        moved = clusterctl("move", "db", "--to", "n2", "--timeout", "150s", check=False)
        assert moved.returncode == 6, moved.stderr
        online("n1")
        assert mirror()["holders"] == ["n1"]
        assert rows(lab, "n1") == {"first", "tail"}
    finally:
        signal_engine(lab, "n2", "CONT")
    is_in("in-sync")
    row(lab, "n1", "last")
    clusterctl("move", "db", "--to", "n2")
    online("n2")
    assert rows(lab, "n2") == {"first", "tail", "last"}
