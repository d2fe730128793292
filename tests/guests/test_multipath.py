"""A shared disk over two paths: both are reserved, counted, and shut out together."""

import re
from collections.abc import Iterator

import pytest

from tests.guests.conftest import Pair
from tests.guests.driving import Driving, Store
from tests.guests.iscsi import SERIAL, offer, see
from tests.guests.marks import guest_test

pytestmark = guest_test

NAME = f"36001405{SERIAL[:25]}"
SPEC = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec:
  {{group: web, type: shared-disk, device: {device}, allowUnstableName: true, mountPoint: /srv/d}}
"""
# As multipathd would make it out of both paths; here it must not take them out of use by itself.
JOIN = f"""
modprobe -a dm_multipath dm_round_robin
while ! test -b /dev/sdb; do sleep 0.1; done
size=$(blockdev --getsz /dev/sda)
export DM_DISABLE_UDEV=1
dmsetup create {NAME} -u mpath-{NAME} --table \
  "0 $size multipath 1 queue_if_no_path 0 1 1 round-robin 0 2 1 /dev/sda 100 /dev/sdb 100"
test -b /dev/mapper/{NAME}
"""


@pytest.fixture(scope="module")
def over_two_paths(pair: Pair) -> Iterator[tuple[Driving, Driving]]:
    """The first guest sees the second one's disk twice, as one device."""
    pair.two.shell("ip address add 10.77.0.12/24 dev eth0")
    offer(pair.two, "10.77.0.12")
    see(pair.one, pair.two, "10.77.0.12")
    see(pair.two, pair.two)
    pair.two.run("mkfs.ext4", "-q", "/dev/sda")
    pair.one.shell(JOIN)
    store = Store()
    one, two = Driving(pair.one, store), Driving(pair.two, store)
    one.open(SPEC.format(device=f"/dev/mapper/{NAME}"))
    two.open(SPEC.format(device="/dev/sda"))
    yield one, two
    one.close()
    two.close()


def test_both_paths_are_reserved_counted_and_shut_out(
    over_two_paths: tuple[Driving, Driving],
) -> None:
    one, two = over_two_paths
    one.activate("data", 5)
    found = one.observe("data")
    assert (found["state"], found["reason"]) == ("active", "2 of 2 paths")
    keys = two.guest.run("sg_persist", "--in", "--read-keys", "/dev/sda")
    assert len(re.findall(r"^\s+0x[0-9a-f]+$", keys, re.MULTILINE)) == 2

    one.guest.shell("echo offline >/sys/block/sda/device/state")
    found = one.observe("data")
    assert (found["state"], found["reason"]) == ("active", "1 of 2 paths")
    one.guest.shell("echo kept >/srv/d/kept; sync -f /srv/d")
    one.guest.shell("echo running >/sys/block/sda/device/state")

    two.activate("data", 6)
    assert two.guest.run("cat", "/srv/d/kept").strip() == "kept"
    late = one.guest.attempt("/bin/sh", "-c", "echo late >/srv/d/late && sync -f /srv/d")
    assert late.code != 0
    assert one.state("data") == "failed"
    one.deactivate("data", 5)
    assert two.state("data") == "active"
    two.deactivate("data", 6)
