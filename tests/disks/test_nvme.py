"""NVMe reservations against a namespace that keeps the rules, and their bytes."""

import fcntl
import struct

import pytest

from reconciler.disks import nvme
from reconciler.disks.nvme import NvmeError, drop, hold, report, take, why_not_held
from reconciler.disks.reservation import Refused, key_of
from tests.disks.nvme_namespace import Host, Namespace

OLD, NEW = key_of("data", 5), key_of("data", 6)


@pytest.fixture(params=[True, False], ids=["long host ids", "short host ids"])
def unit(request: pytest.FixtureRequest) -> Namespace:
    return Namespace(long_ids=request.param)


def test_the_owner_writes_and_nobody_else(unit: Namespace) -> None:
    one, two = Host(unit, "one"), Host(unit, "two")
    take(one, OLD)
    assert (one.write(), two.write()) == (True, False)
    assert why_not_held(one, OLD) == ""
    take(one, OLD)
    assert report(two) == nvme.Report((OLD,), (OLD, 3))


def test_a_new_owner_shuts_the_old_one_out_and_aborts_its_commands(unit: Namespace) -> None:
    one, two = Host(unit, "one"), Host(unit, "two")
    take(one, OLD)
    take(two, NEW)
    assert (one.write(), two.write(), unit.aborted) == (False, True, ["one"])
    assert "epoch 6" in why_not_held(one, OLD)
    with pytest.raises(Refused, match="newer epoch 6"):
        take(one, OLD)
    assert why_not_held(two, NEW) == ""


def test_a_key_of_somebody_else_stays(unit: Namespace) -> None:
    one, two = Host(unit, "one"), Host(unit, "two")
    take(one, key_of("logs", 1))
    with pytest.raises(Refused, match="somebody else"):
        take(two, NEW)
    assert unit.keys == {"one": key_of("logs", 1)}


def test_a_later_start_of_the_same_server_replaces_its_key(unit: Namespace) -> None:
    one = Host(unit, "one")
    take(one, OLD)
    take(one, NEW)
    assert unit.keys == {"one": NEW}
    assert why_not_held(one, NEW) == ""


@pytest.mark.parametrize("late", [key_of("data", 7), 0xABC])
def test_who_came_after_the_look_is_not_shut_out(unit: Namespace, late: int) -> None:
    one, reports = Host(unit, "one"), []
    take(one, OLD)

    def before(opcode: int, _: int) -> None:
        reports.append(opcode == nvme.REPORT)
        if reports.count(True) == (2 if unit.long_ids else 3):
            unit.keys["late"] = late

    one.before = before
    hold(one, OLD)
    assert unit.keys == {"one": OLD, "late": late}


def test_the_new_owner_may_come_between_any_two_commands(unit: Namespace) -> None:
    """Whatever the old one had done by then, it does not end with both."""
    for at in range(1, 9):
        found = Namespace(long_ids=unit.long_ids)
        two, commands = Host(found, "two"), 0

        def before(opcode: int, cdw10: int) -> None:
            nonlocal commands
            commands += 1
            if commands == at:  # noqa: B023 - used at once
                take(two, NEW)  # noqa: B023

        one = Host(found, "one", before)
        try:
            take(one, OLD)
        except (Refused, NvmeError):
            assert "one" not in found.keys
        if commands >= at:
            assert found.holder == "two"
            assert not one.write()


def test_an_old_key_that_came_back_is_shut_out_again(unit: Namespace) -> None:
    one, two = Host(unit, "one"), Host(unit, "two")
    take(two, NEW)
    unit.keys["one"] = OLD
    assert hold(two, NEW) == ""
    assert not one.write()
    unit.keys.pop("two")
    unit.holder = None
    assert "gone" in hold(two, NEW)
    assert "two" not in unit.keys, "whoever was shut out does not let itself in"


def test_giving_up_takes_nothing_from_others(unit: Namespace) -> None:
    one, two = Host(unit, "one"), Host(unit, "two")
    take(one, OLD)
    take(two, NEW)
    drop(one, OLD)
    assert why_not_held(two, NEW) == ""
    drop(two, NEW)
    assert one.write()


def test_a_namespace_that_forgets_at_a_power_loss_is_used(unit: Namespace) -> None:
    unit.can_persist = False
    take(Host(unit, "one"), OLD)
    assert unit.keys == {"one": OLD}


def test_the_bytes_of_the_commands() -> None:
    unit = Namespace()
    one, two = Host(unit, "one"), Host(unit, "two")
    take(one, OLD)
    take(two, NEW)
    keys = struct.pack("<Q", NEW)
    register, acquire = (
        [entry for entry in two.sent if entry[0] == opcode] for opcode in (0x0D, 0x11)
    )
    assert register == [(0x0D, 0xC0000000, bytes(8) + keys)]
    assert acquire == [(0x11, 0x302, keys + struct.pack("<Q", OLD))]
    assert [entry[1] for entry in one.sent if entry[0] == 0x11] == [0x300]


def test_the_bytes_of_the_request() -> None:
    made = nvme.request(0x0D, 3, 0xC0000000, 0x1122334455667788, 16, cdw11=1)
    assert len(made) == 72
    assert made[0] == 0x0D
    assert struct.unpack_from("=I", made, 4)[0] == 3  # namespace
    assert struct.unpack_from("=Q", made, 24)[0] == 0x1122334455667788  # address of the data
    assert struct.unpack_from("=I", made, 36)[0] == 16  # its length
    assert struct.unpack_from("=II", made, 40) == (0xC0000000, 1)
    assert struct.unpack_from("=I", made, 64)[0] == nvme.TIMEOUT_MS
    # _IOWR('N', 0x43, 72 bytes)
    assert 3 << 30 | len(made) << 16 | ord("N") << 8 | 0x43 == nvme.IOCTL_IO_CMD


def test_a_device_that_is_no_namespace_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(NvmeError, match="takes no NVMe commands"):
        report(nvme.Device("/dev/null"))


@pytest.mark.parametrize(
    ("node", "is_one"),
    [("/dev/nvme0n1", True), ("/dev/nvme12n3", True), ("/dev/sda", False), ("/dev/dm-1", False)],
)
def test_which_nodes_are_namespaces(node: str, is_one: bool) -> None:
    assert nvme.is_nvme(node) is is_one
