"""Reservations against a unit that keeps SPC's rules; what the unit does is looked at, not said."""

import random

import pytest

from reconciler.disks import reservation, scsi
from reconciler.disks.reservation import Refused, drop, epoch_in, hold, key_of, take, why_not_held
from tests.disks.logical_unit import ATTENTION, Nexus, Unit

ONE, TWO, THREE = key_of("data", 1), key_of("data", 2), key_of("data", 3)


def two() -> tuple[Unit, Nexus, Nexus]:
    unit = Unit()
    return unit, Nexus(unit, "n1"), Nexus(unit, "n2")


def test_a_key_holds_the_epoch_and_keys_of_one_resource_are_in_order() -> None:
    epochs = [1, 2, 99, (1 << 48) + 1, (5 << 48) + 7]
    keys = [key_of("data", epoch) for epoch in epochs]
    assert [epoch_in(key) for key in keys] == epochs
    assert keys == sorted(keys)
    assert len({key >> 48 for key in keys}) == 1
    assert key_of("data", 1) >> 48 != key_of("logs", 1) >> 48


@pytest.mark.parametrize("epoch", [0, -1, 1 << 36, 1 << 60])
def test_an_epoch_that_does_not_fit_is_refused(epoch: int) -> None:
    with pytest.raises(Refused, match="does not fit"):
        key_of("data", epoch)


def test_the_first_owner_alone_may_write() -> None:
    unit, first, second = two()
    take([first], ONE)
    assert unit.keys == {"n1": ONE}
    assert (unit.holder, unit.kind) == ("n1", 5)
    assert first.write()
    assert not second.write()
    assert why_not_held([first], ONE) == ""


def test_a_takeover_shuts_the_old_owner_out_and_aborts_what_it_had_under_way() -> None:
    unit, first, second = two()
    take([first], ONE)
    take([second], TWO)
    assert unit.keys == {"n2": TWO}
    assert unit.aborted == ["n1"]
    assert not first.write()
    assert why_not_held([first], ONE) == "another server took it at epoch 2"


def test_an_old_owner_gets_nothing_back_and_leaves_nothing_behind() -> None:
    unit, first, second = two()
    take([second], TWO)
    with pytest.raises(Refused, match="newer epoch 2"):
        take([first], ONE)
    assert unit.keys == {"n2": TWO}
    assert hold([first], ONE)
    assert not first.write()


def test_a_stranger_is_left_alone() -> None:
    unit, first, _ = two()
    unit.keys["other"] = 0xABC
    with pytest.raises(Refused, match="somebody else, with key 0x0000000000000abc"):
        take([first], ONE)
    assert unit.keys == {"other": 0xABC}


def test_taking_twice_is_taking_once_and_a_drop_frees_the_disk() -> None:
    unit, first, second = two()
    take([first], ONE)
    take([first], ONE)
    assert unit.keys == {"n1": ONE}
    drop([second], ONE)
    assert unit.keys == {"n1": ONE}, "another server's registration is not ours"
    drop([first], ONE)
    assert (unit.keys, unit.holder) == ({}, None)
    drop([first], ONE)


def test_every_path_is_registered() -> None:
    unit = Unit()
    paths = [Nexus(unit, "n1/a"), Nexus(unit, "n1/b")]
    take(paths, ONE)
    assert unit.keys == {"n1/a": ONE, "n1/b": ONE}
    other = Nexus(unit, "n2")
    take([other], TWO)
    assert unit.keys == {"n2": TWO}
    assert not any(path.write() for path in paths)


def test_a_unit_attention_is_no_answer_and_no_persistence_is_no_obstacle() -> None:
    unit, first, _ = two()
    unit.can_persist = False
    first.attention = True
    take([first], ONE)
    assert unit.keys == {"n1": ONE}


def test_a_unit_that_refuses_everything_is_not_taken() -> None:
    class Dumb:
        def send(self, command: bytes, out: bytes = b"", size: int = 0) -> scsi.Answer:
            return scsi.Answer(0x02, bytes(size), key=5, asc=0x20)

    with pytest.raises(scsi.ScsiError, match="illegal request"):
        take([Dumb()], ONE)


@pytest.mark.parametrize("action", [scsi.REGISTER_AND_IGNORE, scsi.RESERVE])
def test_a_unit_that_says_yes_and_does_nothing_is_not_trusted(action: int) -> None:
    class Liar(Nexus):
        def send(self, command: bytes, out: bytes = b"", size: int = 0) -> scsi.Answer:
            if command[:2] == bytes([0x5F, action]):
                return scsi.Answer(0)
            return super().send(command, out, size)

    unit = Unit()
    with pytest.raises((Refused, scsi.ScsiError)):
        take([Liar(unit, "n1")], ONE)
    assert unit.keys == {}


def test_what_sleeps_in_the_middle_of_a_start_shuts_nobody_out_and_never_writes() -> None:
    """The new owner comes before each single command of the old one's start."""
    for moment in range(12):
        unit, first, second = two()
        take([Nexus(unit, "n0")], key_of("data", 1))
        left = [moment]

        def wake(_: bytes, left: list[int] = left, second: Nexus = second) -> None:
            left[0] -= 1
            if left[0] == -1:
                take([second], THREE)

        first.before = wake
        began = True
        try:
            take([first], TWO)
        except (Refused, scsi.ScsiError):
            began = False
        if left[0] >= 0:
            assert began
            break  # it was through before
        assert not began, moment
        assert unit.keys == {"n2": THREE}, moment
        assert not first.write(), moment
        assert why_not_held([second], THREE) == "", moment


def test_an_old_key_that_came_back_is_shut_out_again() -> None:
    unit, first, second = two()
    take([second], TWO)
    first.send(*scsi.reserve_out(scsi.REGISTER_AND_IGNORE, 0, ONE))
    assert why_not_held([second], TWO) == ""
    assert hold([second], TWO) == ""
    assert unit.keys == {"n2": TWO}


def test_a_lost_reservation_is_seen_and_not_taken_again_by_looking() -> None:
    unit, first, _ = two()
    take([first], ONE)
    unit.keys.clear()
    unit.holder = None
    assert hold([first], ONE) == "its reservation is gone"
    assert unit.keys == {}


@pytest.mark.parametrize("late", [THREE, 0xABC])
def test_who_came_after_the_look_is_not_shut_out(late: int) -> None:
    """A newer owner, or somebody else, registers between the two looks at the keys."""
    unit, first, _ = two()
    take([first], ONE)
    looks = []

    def before(command: bytes) -> None:
        looks.append(command[:2] == bytes([0x5E, scsi.READ_KEYS]))
        if looks.count(True) == 2:
            unit.keys["late"] = late

    first.before = before
    hold([first], ONE)
    assert unit.keys == {"n1": ONE, "late": late}
    assert unit.aborted == []


def test_whatever_the_order_only_the_newest_owner_writes() -> None:
    random_ = random.Random(7)
    for _ in range(300):
        unit = Unit()
        nexuses = [Nexus(unit, f"n{number}") for number in range(3)]
        newest, owner = 0, None
        for epoch in random_.sample(range(1, 9), 6):
            nexus = random_.choice(nexuses)
            nexus.attention = random_.random() < 0.3
            try:
                take([nexus], key_of("data", epoch))
            except Refused:
                assert epoch < newest
            else:
                assert epoch > newest
                newest, owner = epoch, nexus
            assert [one.name for one in nexuses if one.write()] == [owner.name if owner else ""]


def test_the_bytes_of_the_commands() -> None:
    assert scsi.reserve_in(scsi.READ_KEYS) == bytes.fromhex("5e000000000000200000")
    assert scsi.reserve_in(scsi.READ_RESERVATION) == bytes.fromhex("5e010000000000200000")
    command, data = scsi.reserve_out(scsi.PREEMPT_AND_ABORT, 0x0102030405060708, 0x1112131415161718)
    assert command == bytes.fromhex("5f050500000000001800")
    assert data == bytes.fromhex("0102030405060708 1112131415161718 00000000 00 000000")
    command, data = scsi.reserve_out(scsi.REGISTER_AND_IGNORE, 0, 5, persist=True)
    assert command == bytes.fromhex("5f060000000000001800")
    assert data[20] == 1
    assert scsi.reserve_out(scsi.RESERVE, 5)[0] == bytes.fromhex("5f010500000000001800")


def test_the_header_is_as_long_as_the_kernels() -> None:
    header = scsi.request(scsi.TEST_UNIT_READY, 0x1000, 0, 0x2000, to_device=False)
    assert len(header) == 88
    assert header[:12] == b"S\0\0\0\xff\xff\xff\xff\x06\x40\0\0"
    assert int.from_bytes(header[16:24], "little") == 0x1000
    assert int.from_bytes(header[32:40], "little") == 0x2000
    assert int.from_bytes(header[40:44], "little") == scsi.TIMEOUT_MS


def test_sense_of_both_formats() -> None:
    fixed = bytes([0x70, 0, 0x06, *bytes(9), 0x29, 0x01]).ljust(64, b"\0")
    assert scsi.parse_sense(fixed) == (6, 0x29, 1)
    assert scsi.parse_sense(bytes([0x72, 0x02, 0x04, 0x01]).ljust(64, b"\0")) == (2, 4, 1)
    assert scsi.parse_sense(bytes(64)) == (0, 0, 0)
    assert str(ATTENTION) == "unit attention (asc 0x2a, ascq 0x03)"


def test_keys_of_many_paths_and_a_short_answer() -> None:
    class Full:
        def send(self, command: bytes, out: bytes = b"", size: int = 0) -> scsi.Answer:
            return scsi.Answer(0, (bytes(4) + b"\xff" * 4).ljust(size, b"\1"))

    assert len(scsi.read_keys(Full())) == 1023
    assert reservation.key_of("a", 1)


class DeadPath:
    """A cable that was pulled: the transport fails, or the kernel has no device any more."""

    def __init__(self, gone: bool) -> None:
        self._gone = gone

    def send(self, command: bytes, out: bytes = b"", size: int = 0) -> scsi.Answer:
        if self._gone:
            raise OSError(6, "No such device or address")
        return scsi.Answer(0, host=1)


@pytest.mark.parametrize("gone", [True, False])
def test_a_dead_path_keeps_nobody_from_taking_the_disk(gone: bool) -> None:
    unit = Unit()
    alive, dead = Nexus(unit, "n1-a"), DeadPath(gone)
    paths = scsi.answering([dead, alive])
    assert paths == [alive]
    take(paths, key_of("data", 5))
    assert why_not_held(paths, key_of("data", 5)) == ""


def test_without_any_path_that_works_all_are_asked_and_say_so() -> None:
    paths = scsi.answering([DeadPath(gone=False)])
    with pytest.raises(scsi.ScsiError, match="transport failed"):
        take(paths, key_of("data", 5))
