"""A mirrored disk grows on a real lab by a larger `size`: in use, with the standby away, and over a
power loss in the middle."""

import contextlib
import json
from pathlib import Path

import pytest

from clusterctl.lab.plan import LabError
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab
from tests.mirror.pair import usable
from tests.mirror.test_mirror_lab import SPECS, WAIT_S
from tests.mirror.test_operator_lab import is_in, lab, mirror, online, row, rows

__all__ = ["lab"]

pytestmark = [
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]
MIB = 1 << 20


def device_size(lab: LabUnderTest, node: str) -> int:
    """Of what is mounted there."""
    code, text, _ = lab.run(
        node, "sh", "-c", "blockdev --getsize64 $(findmnt -no SOURCE /srv/data)"
    )
    return int(text) if code == 0 else 0


def grown_on(lab: LabUnderTest, size: int) -> str:
    """The owner, once what it has mounted is that large; "" before."""
    done = clusterctl("get", "group/db", "-o", "json", check=False)
    found = json.loads(done.stdout)[0]["status"] if done.returncode == 0 else {}
    node = found["owner"] if found.get("phase") == "online" else ""
    with contextlib.suppress(LabError):  # one that is off is nobody's owner for long
        if node and device_size(lab, node) == size:
            return str(node)
    return ""


def sizes() -> dict[str, int]:
    return {side["server"]: side.get("sizeBytes") or 0 for side in mirror().get("sides", ())}


def events(name: str) -> list[str]:
    return [line for line in clusterctl("events").stdout.splitlines() if name in line]


def apply_size(directory: Path, size: str) -> None:
    specs = directory / "mirror.yaml"
    specs.write_text(SPECS.replace("size: 64MiB", f"size: {size}"))
    clusterctl("apply", "-f", str(specs))


# closer than the time-out that every lab test has
@pytest.mark.timeout(900)
def test_it_grows_wherever_it_is_interrupted(lab: LabUnderTest, tmp_path: Path) -> None:
    apply_size(tmp_path, "64MiB")
    online("n1")
    is_in("in-sync")
    row(lab, "n1", "first")

    apply_size(tmp_path, "96MiB")
    eventually(lambda: device_size(lab, "n1") == 96 * MIB, "the mounted device grows", WAIT_S)
    is_in("in-sync")
    assert sizes() == {"n1": 96 * MIB, "n2": 96 * MIB}
    row(lab, "n1", "second")
    assert not events("resource_stopped")
    assert events("mirror_device_grown")
    # Resizing an ext4 that is mounted is a right of its own, which not every test machine gives;
    # `tests/guests` has the right.
    refused = [line for line in events("mirror_growth_waits") if "does not grow" in line]
    assert refused or events("mirror_file_system_grown")

    # the standby is away meanwhile, then it takes over
    lab.lab("power", "n2", "off")
    apply_size(tmp_path, "128MiB")
    eventually(lambda: device_size(lab, "n1") == 128 * MIB, "it grows alone", WAIT_S)
    row(lab, "n1", "third")
    lab.lab("power", "n2", "on")
    is_in("in-sync")
    assert sizes() == {"n1": 128 * MIB, "n2": 128 * MIB}

    # the owner loses its power as soon as its size was applied
    apply_size(tmp_path, "160MiB")
    lab.lab("power", "n1", "off")
    # n2, or n1 again if it died in the moment in which only it had all data
    eventually(lambda: grown_on(lab, 160 * MIB) != "", "the next owner goes on", WAIT_S)
    assert rows(lab, grown_on(lab, 160 * MIB)) == {"first", "second", "third"}
    is_in("in-sync")
    assert sizes() == {"n1": 160 * MIB, "n2": 160 * MIB}
    assert "both sides are equal" in clusterctl("mirror", "verify", "data").stdout

    done = clusterctl("apply", "-f", shrunk(tmp_path), check=False)
    assert done.returncode == 2
    assert "cannot shrink" in done.stderr


def shrunk(directory: Path) -> str:
    specs = directory / "shrunk.yaml"
    specs.write_text(SPECS)
    return str(specs)
