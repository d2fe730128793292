"""`clusterctl volume gate` on a machine with udev and LVM: a disk of the cluster is left alone."""

from tests.guests.driving import Driving, Store
from tests.guests.guest import Guest
from tests.guests.marks import guest_test

pytestmark = guest_test

DEVICE = "/dev/disk/by-id/virtio-disk0"
SPEC = f"""\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec: {{group: web, type: shared-disk, device: {DEVICE}, reservation: none, mountPoint: /srv/d}}
"""
# What LVM remembers of devices that appeared is forgotten, as by a boot.
APPEAR = """
vgchange -qq -an vg0 || true
rm -rf /run/lvm/pvs_online /run/lvm/vgs_online
udevadm trigger --action=add --name-match=/dev/vda
udevadm settle --timeout=60
"""


def _gate(guest: Guest, *words: str) -> str:
    return guest.python("clusterctl", "volume", "gate", "-f", "/run/spec.yaml", *words)


def _has_volume(guest: Guest) -> bool:
    return guest.attempt("dmsetup", "info", "vg0-lv0").code == 0


def test_a_volume_group_on_a_gated_disk_is_not_activated(alone: Guest) -> None:
    alone.shell("modprobe dm_mod; mkdir -p /run/lvm")
    alone.shell("/lib/systemd/systemd-udevd --daemon; udevadm trigger; udevadm settle")
    alone.shell("pvcreate -qq /dev/vda; vgcreate -qq vg0 /dev/vda; lvcreate -qq -n lv0 -L 16M vg0")
    alone.shell(APPEAR)
    assert _has_volume(alone), "without a gate it is activated as soon as it is seen"

    alone.run("tee", "/run/spec.yaml", stdin=SPEC)
    assert "written for 1 disk" in _gate(alone)
    assert "nothing to change" in _gate(alone, "--check")
    alone.shell("dmsetup remove vg0-lv0")
    alone.shell(APPEAR)
    assert not _has_volume(alone)
    assert "vda" not in alone.run("pvs", "--noheadings")
    told = alone.run("udevadm", "info", "/dev/vda")
    assert "SYSTEMD_READY=0" in told
    assert "UDISKS_IGNORE=1" in told
    assert "LVM2_member" not in told
    alone.run("test", "-b", DEVICE)


def test_the_agent_uses_a_gated_disk(alone: Guest) -> None:
    alone.shell("wipefs -qa /dev/vda; mkfs.ext4 -q /dev/vda; udevadm settle")
    driving = Driving(alone, Store())
    driving.open(SPEC)
    driving.activate("data", 1)
    assert driving.state("data") == "active"
    driving.deactivate("data", 1)
    driving.close()
