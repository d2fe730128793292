"""What this machine has mounted is none of a lab server's business: it neither holds up its crash
nor its fence."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.lab_under_test import LabUnderTest, needs_lab

pytestmark = [*needs_lab, pytest.mark.long]


def run(*argv: str) -> int:
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode


def test_a_disk_of_this_machine_does_not_hold_up_a_crash(tmp_path: Path) -> None:
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(8 * 1024 * 1024)
    mounted.mkdir()
    if run("mkfs.ext4", "-q", str(image)) or run("mount", "-o", "loop", str(image), str(mounted)):
        pytest.skip("no loop device can be mounted here")
    try:
        lab = LabUnderTest.start(tmp_path / "lab", "--servers", "1", "--bare")
    finally:
        run("umount", str(mounted))  # the lab still sees it
    try:
        lab.lab("crash", "n1")
        assert lab.server("n1")["state"] != "running"
    finally:
        lab.down()
