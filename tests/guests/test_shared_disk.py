"""Shared disks on a SCSI unit that keeps reservations: Linux's own target, two machines."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.guests.conftest import Pair
from tests.guests.driving import Driving, Refused, Store
from tests.guests.guest import Guest
from tests.guests.iscsi import see, share
from tests.guests.marks import guest_test

pytestmark = guest_test

SPEC = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec: {group: web, type: shared-disk, device: /dev/sda, allowUnstableName: true, mountPoint: /srv/d}
"""
TUR = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: paths}
spec: {type: disk-tur, target: resource/data, resource: data, timing: always}
"""
DISK = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: disk}
spec: {type: disk, target: resource/data, resource: data}
"""
# A direct write far behind any superblock, as a program that slept would do it.
WRITE = "dd if=/dev/zero of=/dev/sda bs=4096 seek=30000 count=1 oflag=direct"


@dataclass(frozen=True, slots=True)
class Both:
    pair: Pair
    one: Driving
    two: Driving


@pytest.fixture(scope="module")
def both(pair: Pair) -> Iterator[Both]:
    share(pair)
    pair.one.run("mkfs.ext4", "-q", "/dev/sda")
    store = Store()
    one, two = Driving(pair.one, store), Driving(pair.two, store)
    for driving in (one, two):
        driving.open(SPEC)
    yield Both(pair, one, two)
    one.close()
    two.close()


def _writes(guest: Guest) -> bool:
    return guest.attempt("/bin/sh", "-c", WRITE).code == 0


def test_a_new_owner_shuts_the_old_one_out_while_that_one_still_writes(both: Both) -> None:
    both.one.activate("data", 5)
    assert both.one.state("data") == "active"
    both.pair.one.shell("echo kept >/srv/d/kept; sync")
    assert (_writes(both.pair.one), _writes(both.pair.two)) == (True, False)
    assert both.one.do("sample", spec=DISK)["healthy"]
    assert both.two.do("sample", spec=TUR)["healthy"], "ready also where another server has it"

    both.two.activate("data", 6)  # the first one knows nothing of it, and is still mounted
    assert both.pair.two.run("cat", "/srv/d/kept").strip() == "kept"
    assert (_writes(both.pair.one), _writes(both.pair.two)) == (False, True)
    late = both.pair.one.attempt("/bin/sh", "-c", "echo late >/srv/d/late && sync -f /srv/d")
    assert late.code != 0
    assert both.one.state("data") == "failed"
    assert not both.one.do("sample", spec=DISK)["healthy"]
    assert both.two.do("sample", spec=DISK)["healthy"]
    both.one.deactivate("data", 5)
    assert both.two.state("data") == "active", "the old owner's end takes nothing from the new one"
    both.two.deactivate("data", 6)
    assert not both.pair.two.attempt("e2fsck", "-fn", "/dev/sda").code


def test_an_older_epoch_is_refused(both: Both) -> None:
    both.two.activate("data", 8)
    with pytest.raises(Refused, match="newer epoch 8"):
        both.one.activate("data", 7)
    assert not _writes(both.pair.one)
    assert both.two.state("data") == "active"
    keys = both.pair.one.run("sg_persist", "--in", "--read-keys", "/dev/sda")
    assert "8" in keys
    both.two.deactivate("data", 8)
    assert _writes(both.pair.one), "nobody holds it"


def test_after_a_power_loss_everything_that_was_flushed_is_there(both: Both) -> None:
    both.one.activate("data", 9)
    both.pair.one.shell("echo flushed >/srv/d/flushed; sync -f /srv/d")
    both.pair.one.power_off()
    both.two.activate("data", 10)
    assert both.pair.two.run("cat", "/srv/d/flushed").strip() == "flushed"
    both.pair.one.start()
    see(both.pair.one.wait(), both.pair.two)
    assert not _writes(both.pair.one), "what came back is not registered"
    both.two.deactivate("data", 10)
