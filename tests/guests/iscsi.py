"""A SCSI unit that two guests see: Linux's own iSCSI target on one of them, open-iscsi on both."""

from tests.guests.conftest import Pair
from tests.guests.guest import Guest

TARGET = "iqn.2026-01.test.guests:disk"
SERIAL = "0123456789abcdef0123456789abcdef"

_OFFER = """
modprobe -a target_core_mod target_core_iblock iscsi_target_mod
core=/sys/kernel/config/target/core/iblock_0/disk
gate=/sys/kernel/config/target/iscsi/{target}/tpgt_1
mkdir -p $core
echo -n udev_path=/dev/vda >$core/control
echo -n {serial} >$core/wwn/vpd_unit_serial
echo 1 >$core/enable
mkdir -p $gate/lun/lun_0
for address in {addresses}; do mkdir -p $gate/np/$address:3260; done
ln -s $core $gate/lun/lun_0/port
echo 0 >$gate/attrib/authentication
echo 1 >$gate/attrib/generate_node_acls
echo 1 >$gate/attrib/cache_dynamic_acls
echo 0 >$gate/attrib/demo_mode_write_protect
echo 1 >$gate/enable
"""
_SEE = """
modprobe -a iscsi_tcp sd_mod sg
mkdir -p /etc/iscsi /run/lock/iscsi
echo InitiatorName=iqn.2026-01.test.guests:{name} >/etc/iscsi/initiatorname.iscsi
iscsid
for address in {addresses}; do
  iscsiadm -m discovery -t sendtargets -p $address >/dev/null
  iscsiadm -m node -T {target} -p $address --login >/dev/null || test $? = 15
done
while ! test -b /dev/sda; do sleep 0.1; done
"""


def offer(guest: Guest, *more: str) -> None:
    """Its /dev/vda becomes a unit on the wire, at `more` addresses, too."""
    addresses = " ".join((guest.address, *more))
    guest.shell(_OFFER.format(target=TARGET, serial=SERIAL, addresses=addresses))


def see(guest: Guest, at: Guest, *more: str) -> None:
    """From now on it is /dev/sda; /dev/sdb through the next of `more` addresses, and so on."""
    addresses = " ".join((at.address, *more))
    guest.shell(_SEE.format(name=guest.name, target=TARGET, addresses=addresses))


def share(pair: Pair) -> None:
    """The second guest has the unit: it is there when the first one is off."""
    offer(pair.two)
    for guest in (pair.one, pair.two):
        see(guest, pair.two)
