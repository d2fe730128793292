"""A pill is a proof only with a promise behind it, and only for the boot that promised."""

import asyncio
import os
import selectors
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import MonotonicClock
from reconciler.decide.fence_execution import ends_all
from reconciler.fences import poison_pill
from reconciler.fences.poison_pill import PoisonPill, PoisonPillDevice
from reconciler.ports.power import FenceError, PowerState
from reconciler.pulse.disk_layout import (
    BLOCK,
    SIZE,
    header,
    pill_offset,
    promise_offset,
    read_note,
    write_note,
)
from reconciler.pulse.disk_path import DiskPath
from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.paths import Paths
from reconciler.pulse.settings import DiskSettings

SLOT, W, PATIENCE = 1, 1, 0.5
BOOTS = ("boot-1",)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    file = tmp_path / "disk"
    file.write_bytes(header("demo").ljust(SIZE, b"\0"))
    return file


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting itself is arithmetic; the tests do not wait for it."""
    monkeypatch.setattr(poison_pill, "RESET_S", -1.5)
    monkeypatch.setattr(poison_pill, "_LISTEN_S", 0.05)


@pytest.fixture
def server(disk: Path) -> Iterator["Server"]:
    made = Server(disk)
    yield made
    os.close(made.descriptor)


class Server:
    """n1's pulse, as far as its mailbox goes."""

    def __init__(self, disk: Path) -> None:
        self.descriptor = os.open(disk, os.O_RDWR)
        self.box = Mailbox("n1", SLOT, PATIENCE)
        self.box.boot_id, self.box.wanted_s = "boot-1", W

    def visit(self) -> None:
        self.box.visit(self.descriptor)


def device(disk: Path) -> PoisonPillDevice:
    return PoisonPill(type="poison-pill", disk=str(disk), server="n1").device(MonotonicClock())


def pill(disk: Path) -> dict[str, Any] | None:
    return read_note(disk.read_bytes()[pill_offset(SLOT) :][:BLOCK])


def wipe(disk: Path) -> None:
    disk.write_bytes(bytes(SIZE))


def later(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


async def test_a_server_that_promised_is_ended_and_its_boot_is_named(
    disk: Path, server: Server
) -> None:
    server.visit()
    report = await device(disk).power_off(later(), BOOTS)
    assert (report.after, report.boot_id) == (PowerState.OFF, "boot-1")
    server.visit()
    assert server.box.pill
    assert not server.box.may_feed(time.monotonic())


async def test_a_boot_that_is_not_to_be_ended_gets_no_pill(disk: Path, server: Server) -> None:
    """Fenced for being silent, the server had started again meanwhile: the order for the old boot
    must not end the new one."""
    server.box.boot_id = "boot-2"
    server.visit()
    with pytest.raises(FenceError, match="not to be ended"):
        await device(disk).power_off(later(), BOOTS)
    with pytest.raises(FenceError, match="not to be ended"):
        await device(disk).power_off(later())
    assert pill(disk) is None


async def test_without_an_armed_watchdog_a_pill_proves_nothing(disk: Path, server: Server) -> None:
    with pytest.raises(FenceError, match="promised nothing"):
        await device(disk).power_off(later(), BOOTS)
    server.box.wanted_s = 0
    server.visit()
    with pytest.raises(FenceError, match="no armed watchdog"):
        await device(disk).power_off(later(), BOOTS)
    server.visit()
    assert not server.box.pill


async def test_a_server_that_goes_on_writing_is_not_over(disk: Path, server: Server) -> None:
    server.visit()
    attempt = asyncio.create_task(device(disk).power_off(later(), BOOTS))
    while not attempt.done():
        server.box.boot_id = "boot-1"
        server.visit()
        await asyncio.sleep(0.005)
    with pytest.raises(FenceError, match="still writes"):
        attempt.result()


@pytest.mark.parametrize("seconds", [0, W + 5])
async def test_a_promise_that_changed_as_the_pill_was_written_is_not_counted_on(
    disk: Path, server: Server, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    server.visit()
    write = poison_pill._Disk.write_pill

    def late(made: Any, boot_id: str) -> None:
        server.box.retracting, server.box.wanted_s = not seconds, seconds
        server.visit()  # its last look: it ends in order, or its disk dies
        write(made, boot_id)

    monkeypatch.setattr(poison_pill._Disk, "write_pill", late)
    with pytest.raises(FenceError, match="changed its promise"):
        await device(disk).power_off(later(), BOOTS)
    assert not server.box.pill


async def test_a_new_boot_proves_the_end_of_the_old_one(disk: Path, server: Server) -> None:
    server.visit()
    attempt = asyncio.create_task(device(disk).power_off(later(), BOOTS))
    while not attempt.done():
        server.visit()
        if server.box.pill:
            server.box.boot_id, server.box.pill = "boot-2", False
        await asyncio.sleep(0.005)
    assert attempt.result().boot_id == "boot-1"
    assert not server.box.pill  # it was not for this boot


async def test_nothing_is_written_when_the_right_to_fence_ends_too_early(
    disk: Path, server: Server
) -> None:
    server.visit()
    with pytest.raises(FenceError, match="the right to fence lasts"):
        await device(disk).power_off(later(0.0), BOOTS)
    assert pill(disk) is None


async def test_the_self_test_tells_what_is_missing(disk: Path, server: Server) -> None:
    assert not (await device(disk).self_test()).ok
    server.visit()
    assert (await device(disk).self_test()).ok
    wipe(disk)
    broken = await device(disk).self_test()
    assert (broken.ok, "not a heartbeat disk" in broken.detail) == (False, True)


def test_a_server_that_cannot_read_its_mailbox_is_not_fed_any_more(server: Server) -> None:
    now = time.monotonic()
    assert server.box.may_feed(now)  # nothing was promised yet
    server.visit()
    read_at = server.box.read_at
    assert read_at is not None
    assert server.box.may_feed(read_at + PATIENCE)
    assert not server.box.may_feed(read_at + PATIENCE + 0.01)


def test_a_new_pulse_keeps_the_promise_of_the_one_before_until_the_disk_answers(
    server: Server,
) -> None:
    now = time.monotonic()
    server.box.wanted_s = 0
    server.box.inherit(W, now)
    assert server.box.may_feed(now + PATIENCE)
    assert not server.box.may_feed(now + PATIENCE + 0.01), "others can still read it"
    server.visit()
    assert server.box.may_feed(now + 100.0), "the disk says that nothing is promised"


def test_a_mailbox_that_is_not_wanted_any_more_is_kept_until_its_promise_is_taken_back(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskPath, "_work", lambda _: None)
    server = Server(disk)
    wanted = DiskSettings(str(disk), "n1", {"n0": 0, "n1": SLOT}, 0.05, PATIENCE)
    paths = Paths(selectors.DefaultSelector())
    paths.bind({"quorum": wanted}, "demo")
    ((_, box),) = paths.mailboxes()
    server.box = box
    box.boot_id, box.wanted_s = "boot-1", W
    server.visit()
    longer = replace(wanted, patience=2 * PATIENCE)
    for _ in range(2):
        assert paths.bind({"quorum": longer}, "demo") != {}
        assert [found for _, found in paths.mailboxes()] == [box]
        assert not box.may_feed(time.monotonic() + PATIENCE + 0.01)
    server.visit()
    assert paths.bind({"quorum": longer}, "demo") == {}
    assert [name for name, found in paths.mailboxes() if found is not box] == ["quorum"]
    assert paths.taken_back() == ["quorum"]
    paths.close()
    os.close(server.descriptor)


def test_a_promise_is_taken_back_before_the_watchdog_is_disarmed(
    disk: Path, server: Server
) -> None:
    server.visit()
    server.box.retracting = True
    server.visit()
    assert server.box.promised_s == 0
    note = read_note(disk.read_bytes()[promise_offset(SLOT) :][:BLOCK])
    assert note is not None
    assert note["watchdog_s"] == 0


def test_a_torn_note_says_nothing() -> None:
    block = bytearray(write_note({"boot_id": "boot-1"}))
    block[40] ^= 1
    assert read_note(bytes(block)) is None
    assert read_note(bytes(BLOCK)) is None


@pytest.mark.parametrize(
    ("ended", "covers", "newest", "enough"),
    [
        (None, ("a", "b"), None, True),
        ("a", ("a",), None, True),
        ("b", ("a",), None, False),
        ("b", ("a", "b"), "b", True),
        ("a", ("a", "b"), "b", False),
        ("b", ("a", "b"), None, False),
    ],
)
def test_the_end_of_one_boot_covers_older_ones_only_if_it_is_known_to_be_the_newest(
    ended: str | None, covers: tuple[str, ...], newest: str | None, enough: bool
) -> None:
    assert ends_all(ended, covers, newest) is enough
