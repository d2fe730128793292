"""Disks and serial lines for heartbeats: what cannot work is refused at its line."""

import pytest

from specs.errors import Severity, SpecErrors
from tests.specs.sets import CLUSTER
from tests.specs.test_check import SOUND, checked, only


def with_path(path: str) -> tuple[str, ...]:
    text = CLUSTER.replace("  timing:", f"  heartbeatPaths: [{path}]\n  timing:")
    return (text, *SOUND[1:])


DISK = "{n1: /dev/disk/by-id/a, n2: /dev/disk/by-id/a, n3: /dev/disk/by-id/a}"


def test_a_disk_and_a_line_are_fine() -> None:
    assert checked(*with_path(f"{{name: quorum, type: disk, devices: {DISK}}}")) == []
    line = "{name: com1, type: serial, interval: 100ms, devices: {n1: /dev/ttyS0, n2: /dev/ttyS0}}"
    assert checked(*with_path(line)) == []


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        (f"{{name: private, type: disk, devices: {DISK}}}", "E0403", "another path or network"),
        (
            "{name: q, type: disk, devices: {n1: /dev/disk/by-id/a, n4: /dev/disk/by-id/a}}",
            "E0201",
            "no Server 'n4'",
        ),
        (
            "{name: q, type: disk, devices: {n1: /dev/sdb, n2: /dev/disk/by-id/a}}",
            "W0402",
            "another disk after a boot",
        ),
        (
            "{name: c, type: serial, speed: 9600, devices: {n1: /dev/ttyS0, n2: /dev/ttyS0}}",
            "E0403",
            "at least 521ms",
        ),
    ],
)
def test_what_cannot_work_or_is_unwise(path: str, code: str, text: str) -> None:
    problem = only(checked(*with_path(path)))
    assert problem.code == code
    assert text in problem.message
    assert problem.line > 0
    assert problem.severity is (Severity.WARNING if code.startswith("W") else Severity.ERROR)


@pytest.mark.parametrize(
    "path",
    [
        "{name: c, type: serial, devices: {n1: /dev/a, n2: /dev/a, n3: /dev/a}}",
        "{name: c, type: disk, devices: {n1: relative, n2: /dev/a}}",
        "{name: c, type: tape, devices: {n1: /dev/a, n2: /dev/a}}",
    ],
)
def test_what_is_no_path_at_all(path: str) -> None:
    with pytest.raises((SpecErrors, AssertionError)):
        checked(*with_path(path))
