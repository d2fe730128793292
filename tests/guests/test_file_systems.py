"""Shared disks with each kind of file system, on a logical volume, and without any."""

import json
from collections.abc import Iterator

import pytest

from tests.guests.driving import Driving, Refused, Store
from tests.guests.guest import Guest
from tests.guests.marks import guest_test

pytestmark = guest_test

SPEC = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}}}
spec:
  group: web
  type: shared-disk
  device: {device}
  allowUnstableName: true
  reservation: none
  {more}
"""
KINDS = ["ext4", "xfs", "btrfs"]
BLANK = "dd if=/dev/zero of=/dev/vda bs=1M count=4 conv=fsync; wipefs -qa /dev/vda"


@pytest.fixture(scope="module")
def driving(alone: Guest) -> Iterator[Driving]:
    alone.shell("modprobe -a xfs btrfs dm_mod; mkdir -p /run/lvm")
    driving = Driving(alone, Store())
    yield driving
    driving.close()


def _open(driving: Driving, name: str, more: str, device: str = "/dev/vda") -> None:
    driving.open(SPEC.format(name=name, device=device, more=more.replace("\n", "\n  ")))


def _mounted(kind: str, more: str = "") -> str:
    return f"fileSystem: {kind}\nmountPoint: /srv/d\nunmountGrace: 1s\n{more}"


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_made_once_with_consent_used_and_given_up(driving: Driving, kind: str) -> None:
    guest = driving.guest
    guest.shell(BLANK)
    _open(driving, f"on-{kind}", _mounted(kind, f"formatConsent: word-{kind}"))
    driving.activate(f"on-{kind}", 1)
    assert driving.state(f"on-{kind}") == "active"
    assert guest.run("stat", "-f", "-c", "%T", "/srv/d").strip() in (kind, "ext2/ext3")
    guest.shell("echo kept >/srv/d/file; cd /srv/d; nohup sleep 1000 >/dev/null 2>&1 &")
    driving.deactivate(f"on-{kind}", 1)  # its user is ended
    assert guest.attempt("mountpoint", "-q", "/srv/d").code != 0
    assert guest.attempt("pgrep", "-r", "D,R,S", "-x", "sleep").code != 0
    driving.activate(f"on-{kind}", 2)
    assert guest.run("cat", "/srv/d/file").strip() == "kept"
    driving.deactivate(f"on-{kind}", 2)

    guest.shell(BLANK)
    with pytest.raises(Refused, match="used before"):
        driving.activate(f"on-{kind}", 3)
    assert guest.attempt("mountpoint", "-q", "/srv/d").code != 0


def test_damage_is_repaired_without_losing_anything_or_left_to_a_person(driving: Driving) -> None:
    guest = driving.guest
    guest.shell(f"{BLANK}; mkfs.ext4 -q /dev/vda; debugfs -w -R 'ssv state 2' /dev/vda")
    _open(driving, "damaged", _mounted("ext4"))
    driving.activate("damaged", 1)
    assert "has been checked" not in guest.console()
    assert "clean" in guest.run("tune2fs", "-l", "/dev/vda")
    driving.deactivate("damaged", 1)
    guest.shell("dd if=/dev/urandom of=/dev/vda bs=4096 count=64 seek=0 conv=notrunc,fsync")
    with pytest.raises(Refused):
        driving.activate("damaged", 2)
    assert guest.attempt("mountpoint", "-q", "/srv/d").code != 0


def test_a_logical_volume(driving: Driving) -> None:
    guest = driving.guest
    guest.shell(f"{BLANK}; pvcreate -qq -ff -y /dev/vda; vgcreate -qq vg0 /dev/vda")
    guest.shell("lvcreate -qq -y -Zn -Wn -n lv0 -L 64M vg0; vgmknodes; mkfs.ext4 -q /dev/vg0/lv0")
    _open(driving, "whole", _mounted("ext4"))
    with pytest.raises(Refused, match=r"part of dm-|physical volume"):
        driving.activate("whole", 1)
    _open(driving, "volume", _mounted("ext4"), "/dev/vg0/lv0")
    driving.activate("volume", 1)
    assert driving.state("volume") == "active"
    driving.deactivate("volume", 1)
    guest.shell("vgchange -qq -an vg0")


def test_a_disk_as_it_is(driving: Driving) -> None:
    driving.guest.shell(f"{BLANK}")
    _open(driving, "raw", "fileSystem: none")
    driving.activate("raw", 1)
    assert driving.state("raw") == "active"
    driving.guest.shell("dd if=/dev/zero of=/dev/vda bs=4096 count=1 oflag=direct")
    driving.deactivate("raw", 1)
    assert driving.state("raw") == "inactive"


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_mounted_grows_with_the_file_below_it(driving: Driving, kind: str) -> None:
    guest, old, new = driving.guest, 320 << 20, 448 << 20
    mount = f"mkdir -p /srv/g; mount -t {kind} /dev/loop7 /srv/g; echo kept >/srv/g/file"
    guest.shell(
        f"modprobe loop; truncate -s {old} /run/g; losetup /dev/loop7 /run/g; "
        f"mkfs.{kind} -q /dev/loop7; {mount}; truncate -s {new} /run/g"
    )
    words = ("/dev/loop7", "/run/g", "/srv/g", kind, str(new))
    try:
        said = json.loads(guest.python("tests.guests.growing", *words))
        assert (said["device"], said["file_system"]) == (True, True)
        if kind != "xfs":  # its superblock is written when its journal is
            assert new - (1 << 20) < said["size"] <= new
        said = json.loads(guest.python("tests.guests.growing", *words))
        assert (said["device"], said["file_system"]) == (False, False)
        assert guest.run("cat", "/srv/g/file").strip() == "kept"
    finally:
        guest.shell("umount /srv/g; losetup -d /dev/loop7; rm /run/g")
