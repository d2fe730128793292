"""What a device is, from the tables of the kernel; /etc/fstab from text."""

from pathlib import Path

import pytest

from reconciler.disks import device
from reconciler.disks.device import Unusable, in_fstab, node_of

TABLE = """\
# /dev/sdb /srv ext4 defaults 0 2
UUID=1-2 / ext4 errors=remount-ro 0 1
/dev/sdb /srv ext4 defaults,noauto 0 2
broken line
/dev/sdc /srv ext4 defaults 0 2
"""


def test_the_line_of_fstab_that_would_mount_it(tmp_path: Path) -> None:
    path = tmp_path / "fstab"
    path.write_text(TABLE)
    assert in_fstab("/dev/sdb", str(path)) == 0
    assert in_fstab("/dev/sdc", str(path)) == 5
    assert in_fstab("/dev/disk/by-uuid/1-2", str(path)) == 2
    assert in_fstab("/dev/sdc", str(tmp_path / "none")) == 0


@pytest.mark.parametrize("line", ["/dev/sdb /srv ext4", "/dev/sdb /srv", "/dev/sdb /srv ext4 rw"])
def test_a_short_line_of_fstab_counts_too(tmp_path: Path, line: str) -> None:
    (tmp_path / "fstab").write_text(f"# all else\n{line}\n")
    assert in_fstab("/dev/sdb", str(tmp_path / "fstab")) == 2


def test_a_link_is_followed_and_a_file_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="is not a block device"):
        node_of(str(tmp_path / "file"))
    with pytest.raises(Unusable, match="is not there"):
        node_of(str(tmp_path / "nobody"))


def tree(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_all_paths_of_a_multipath_device_are_one_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {"/dev/dm-0": "252:0", "/dev/dm-1": "252:1", "/dev/sda": "8:0", "/dev/sdb": "8:16"}
    monkeypatch.setattr(device, "SYS", str(tmp_path))
    monkeypatch.setattr(device, "number_of", numbers.__getitem__)
    for number in numbers.values():
        (tmp_path / number / "slaves").mkdir(parents=True)
    tree(tmp_path, **{"252:0/dm/uuid": "mpath-3600\n", "252:1/dm/uuid": "LVM-abc\n"})
    for name in ("sda", "sdb"):
        (tmp_path / "252:0/slaves" / name).touch()
    (tmp_path / "252:1/slaves/dm-0").touch()
    assert device.units("/dev/sda") == [["/dev/sda"]]
    assert device.units("/dev/dm-0") == [["/dev/sda", "/dev/sdb"]]
    assert device.units("/dev/dm-1") == [["/dev/sda", "/dev/sdb"]], "a volume on a multipath disk"


@pytest.mark.parametrize(
    ("said", "counts"),
    [("running\n", True), ("live\n", True), ("offline\n", False), ("transport-offline\n", False)],
)
def test_a_path_that_the_kernel_took_out_of_use_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, counts: bool
) -> None:
    monkeypatch.setattr(device, "SYS", str(tmp_path))
    monkeypatch.setattr(device, "number_of", {"/dev/sda": "8:0", "/dev/vda": "254:0"}.__getitem__)
    tree(tmp_path, **{"8:0/device/state": said})
    assert device.is_running("/dev/sda") is counts
    assert device.is_running("/dev/vda"), "nothing is known of it"
