"""Guests for the tests of this folder; a test is skipped where none can be started."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guests.guest import Guest, blank_disk, why_not

DISK_BYTES = 512 << 20  # xfs wants 300 MiB


@dataclass(frozen=True, slots=True)
class Pair:
    one: Guest
    two: Guest


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two guests on one wire, each with a blank disk, both up."""
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="guests-") as name, ExitStack() as guests:
        directory = Path(name)
        disks = [blank_disk(directory / f"n{number}.disk", DISK_BYTES) for number in (1, 2)]
        one, two = [
            guests.enter_context(Guest(directory, number, [disk]))
            for number, disk in enumerate(disks, start=1)
        ]
        yield Pair(one.wait(), two.wait())


@pytest.fixture(scope="module")
def alone() -> Iterator[Guest]:
    """One guest with a blank disk."""
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="guests-") as name:
        directory = Path(name)
        with Guest(directory, 1, [blank_disk(directory / "n1.disk", DISK_BYTES)]) as guest:
            yield guest.wait()
