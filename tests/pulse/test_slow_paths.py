"""Heartbeats over a disk and a serial line: what arrives is whole, new, and from our cluster."""

import os
import pty
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.pulse.disk_layout import SIZE, SLOT, header, owner_of, pack, slot_offset, unpack
from reconciler.pulse.disk_path import DiskPath
from reconciler.pulse.judge import Judge, Settings
from reconciler.pulse.packet import Heartbeat
from reconciler.pulse.serial_path import SerialPath, decode, encode
from reconciler.pulse.settings import DiskSettings, SerialSettings

PATIENCE_S = 20.0
SLOTS = {"n1": 0, "n2": 1, "n3": 2}


def heard(path: DiskPath | SerialPath, wanted: int) -> list[bytes]:
    """So many datagrams, or an assertion after a while."""
    found: list[bytes] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < wanted:
        now = time.monotonic()
        assert now < deadline, f"only {found} came"
        found += [datagram for datagram, at in path.drain(now, time.time()) if at <= now]
        time.sleep(0.002)
    return found


# -- the serial line ---------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[SerialPath, SerialPath, int]]:
    """Two ends, joined by hand; and the descriptor on which noise can be put to the second."""
    (one, one_tty), (two, two_tty) = pty.openpty(), pty.openpty()
    ends = tuple(
        SerialPath("com1", SerialSettings(os.ttyname(tty), 115200, peer, 0.05))
        for tty, peer in ((one_tty, "n2"), (two_tty, "n1"))
    )
    os.set_blocking(one, False)
    yield ends[0], ends[1], two
    for end in ends:
        end.close()
    for descriptor in (one, one_tty, two, two_tty):
        os.close(descriptor)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.binary(max_size=5))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    datagrams: list[bytes], cuts: bytes
) -> None:
    stream = b"".join(encode(datagram) for datagram in datagrams)
    partial, found, at = bytearray(), list[bytes](), 0
    for cut in (*cuts, len(stream)):
        found += decode(partial, stream[at : at + cut])
        at += cut
    assert found == datagrams


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=200))
def test_after_noise_the_next_frame_but_one_is_whole(noise: bytes, datagram: bytes) -> None:
    found = decode(bytearray(), noise + encode(datagram) + encode(datagram))
    assert found[-1] == datagram


def test_a_flood_without_frames_is_forgotten() -> None:
    partial = bytearray()
    for _ in range(100):
        decode(partial, b"x" * 4096)
    assert len(partial) <= 2 * 8192


def test_a_serial_line_carries_binary_datagrams(line: tuple[SerialPath, SerialPath, int]) -> None:
    one, two, wire = line
    datagram = bytes(range(256))
    one.send("n2", datagram)
    os.write(wire, encode(datagram))  # what the cable does
    assert heard(two, 1) == [datagram]
    assert not two.errors


def test_a_line_that_nobody_reads_never_holds_the_pulse(
    line: tuple[SerialPath, SerialPath, int],
) -> None:
    one = line[0]
    for _ in range(2000):
        one.send("n2", b"x" * 400)
    assert one.errors


def test_what_is_no_serial_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="no serial line"):
        SerialPath("com1", SerialSettings(str(file), 115200, "n2", 0.05))


# -- the disk ----------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=500), max_size=16))
def test_a_slot_gives_back_what_was_packed(datagrams: list[bytes]) -> None:
    assert unpack(pack(datagrams)) == datagrams


@given(st.binary(min_size=1, max_size=64))
def test_a_foreign_slot_breaks_nothing(pattern: bytes) -> None:
    unpack((pattern * SLOT)[:SLOT])


def test_a_header_names_its_cluster() -> None:
    assert owner_of(header("demo")) == "demo"
    assert owner_of(bytes(4096)) is None


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "disk"
    file.write_bytes(header("demo").ljust(SIZE, b"\0"))
    return file


def opened(device: Path, server: str, cluster: str = "demo") -> DiskPath:
    return DiskPath("disk", DiskSettings(str(device), server, SLOTS, 0.005), cluster)


def test_a_disk_carries_the_newest_heartbeats_to_everybody(device: Path) -> None:
    one, two = opened(device, "n1"), opened(device, "n2")
    late = None
    try:
        one.send("n2", b"old")
        deadline = time.monotonic() + PATIENCE_S
        while not unpack(device.read_bytes()[slot_offset(0) :][:SLOT]):
            assert time.monotonic() < deadline, one.problem
            time.sleep(0.002)
        late = opened(device, "n3")
        for number in range(50):
            one.send("n2", b"to n2: %d" % number)
            one.send("n3", b"to n3: %d" % number)
            time.sleep(0.005)
        assert any(datagram.startswith(b"to n2") for datagram in heard(two, 2))
        # What was there before a reader came may be of any age, so it says nothing.
        assert b"old" not in heard(late, 1)
    finally:
        for path in (one, two, late):
            if path is not None:
                path.close()


@pytest.mark.parametrize(
    ("content", "problem"),
    [(bytes(SIZE), "not a heartbeat disk"), (header("other").ljust(SIZE, b"\0"), "cluster other")],
)
def test_a_disk_that_is_not_ours_is_left_alone(device: Path, content: bytes, problem: str) -> None:
    device.write_bytes(content)
    path = opened(device, "n1")
    path.send("n2", b"beat")
    deadline = time.monotonic() + PATIENCE_S
    while not path.problem:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert problem in path.problem
    path.close()
    assert device.read_bytes() == content


# -- what the judge makes of them -----------------------------------------------------------------


def test_a_server_whose_networks_are_gone_is_heard_on_the_slow_path() -> None:
    settings = Settings("demo", "n1", 0.05, 4, {"n2": ("disk", "private")}, {"disk": 0.2})
    judge = Judge(settings, "me", 100.0)
    now, sequence = 100.0, 0

    def hear(path: str) -> None:
        nonlocal sequence
        sequence += 1
        beat = Heartbeat("demo", "n2", "n1", path, "boot", "start", sequence, "me")
        assert judge.hear(beat, path, now).refused is None

    def run(ticks: int, *paths: str) -> None:
        nonlocal now
        for tick in range(ticks):
            judge.woke(now, now)
            for path in paths:
                if path != "disk" or tick % 4 == 0:
                    hear(path)
            judge.judge(now)
            now += 0.05

    run(40, "private", "disk")
    run(40, "disk")
    assert not judge.peers["n2"].suspect
    run(10)
    assert judge.peers["n2"].suspect
    assert not judge.peers["n2"].silent
    run(12)
    assert judge.peers["n2"].silent
