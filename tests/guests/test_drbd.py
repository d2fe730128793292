"""Mirrored disks with DRBD as their engine: two machines, one of them loses power."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.guests.conftest import Pair
from tests.guests.driving import Driving, Refused, Store
from tests.guests.guest import Guest, GuestError
from tests.guests.marks import guest_test

pytestmark = guest_test

SIZE_MIB = 32
SPEC = f"""\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec:
  group: web
  type: mirror-disk
  engine: drbd
  file: /mnt/v/data.img
  metadataFile: /mnt/v/data.meta
  size: {SIZE_MIB}MiB
  mountPoint: /srv/d
  formatConsent: first-build
  startTimeout: 3m
  stopTimeout: 3m
"""
_MET = re.compile(r"uuid_compare\(\)=(-?\d+)")
HOW = {"verify": {"do": "verify"}, "checksum": {"do": "resync", "how": "checksum"}}
BY_DIFFERENCE = -1
"""What DRBD makes of a meeting: this side gets what the bitmaps say; -2 would be everything."""


class Cluster:
    """Two servers, their disks, and the store."""

    def __init__(self, pair: Pair) -> None:
        self.guests = {"n1": pair.one, "n2": pair.two}
        self.store = Store()
        self.sides: dict[str, Driving] = {}
        for guest in self.guests.values():
            guest.run("mkfs.ext4", "-q", "/dev/vda")
        for name in self.guests:
            self.arrive(name)

    def arrive(self, name: str) -> None:
        """After a boot: its disk, its drivers, and it follows."""
        guest = self.guests[name]
        if not guest.is_up:
            guest.start()
            guest.wait()
        guest.shell("mkdir -p /mnt/v; mount /dev/vda /mnt/v")
        side = self.sides[name] = Driving(guest, self.store)
        side.open(SPEC)
        side.do("follow", name="data")
        guest.until("follows", lambda _: self.look(name) != {})

    def look(self, name: str) -> dict[str, Any]:
        """Empty while DRBD does not have the mirror yet."""
        try:
            return self.sides[name].do("look", name="data") or {}
        except Refused:
            return {}

    def crash(self, name: str) -> None:
        self.guests[name].power_off()
        self.sides.pop(name).close()

    def own(self, name: str, epoch: int) -> None:
        self.store.owner = (name, epoch)

    def until_record(self, *servers: str) -> None:
        deadline = time.monotonic() + 120
        while self.store.records.get("data", [None])[0] != list(servers):
            if time.monotonic() > deadline:
                told = [side.do("look", name="data") for side in self.sides.values()]
                raise GuestError(f"the record is {self.store.records}; {told}")
            time.sleep(0.1)

    def has(self, name: str, *files: str) -> bool:
        return all(
            self.guests[name].attempt("cat", f"/srv/d/{file}").output.strip() == file
            for file in files
        )

    def write(self, name: str, file: str) -> None:
        self.guests[name].shell(f"echo {file} >/srv/d/{file}; sync -f /srv/d")


@pytest.fixture(scope="module")
def cluster(pair: Pair) -> Iterator[Cluster]:
    cluster = Cluster(pair)
    yield cluster
    for side in cluster.sides.values():
        side.close()


def _met(guest: Guest) -> int:
    return int(_MET.findall(guest.run("dmesg"))[-1])


def test_both_sides_are_built_and_the_record_says_so(cluster: Cluster) -> None:
    cluster.own("n1", 5)
    cluster.sides["n1"].activate("data", 5)
    assert cluster.sides["n1"].state("data") == "active"
    cluster.until_record("n1", "n2")
    cluster.write("n1", "first")
    look = cluster.sides["n2"].do("look", name="data")
    assert (look["serves"], look["header"]["consistent"]) == (False, True)
    assert cluster.guests["n2"].attempt("mount", "/dev/drbd7788", "/mnt").code != 0


def _compared(cluster: Cluster, how: str, number: str) -> int:
    """How many parts differ."""
    cluster.sides["n1"].do("ask", name="data", request={**HOW[how], "id": number})

    def ended(_: Guest) -> bool:
        said = cluster.look("n1")["details"].get("verify", {})
        return bool(said.get("id") == number and said.get("ended"))

    cluster.guests["n1"].until("compared", ended)
    said = cluster.look("n1")["details"]["verify"]
    assert said["ended"] == "done"
    return int(said["different"])


def test_a_comparison_finds_what_differs_and_it_is_copied(cluster: Cluster) -> None:
    assert _compared(cluster, "verify", "a") == 0
    guest = cluster.guests["n2"]
    guest.shell(
        "dd if=/dev/urandom of=/mnt/v/data.img bs=4096 seek=5000 count=3 conv=notrunc oflag=direct"
    )
    assert _compared(cluster, "verify", "b") == 3
    before = len(cluster.store.history)
    assert _compared(cluster, "checksum", "c") == 3
    cluster.guests["n1"].until(
        "parted", lambda _: [record[0] for record in cluster.store.history[before:]][:1] == [["n1"]]
    )
    cluster.until_record("n1", "n2")
    assert _compared(cluster, "verify", "d") == 0
    assert cluster.has("n1", "first")


def test_a_copy_of_everything_makes_the_other_side_no_candidate_meanwhile(cluster: Cluster) -> None:
    before = len(cluster.store.history)
    cluster.sides["n1"].do("ask", name="data", request={"do": "resync", "how": "full"})
    cluster.guests["n1"].until(
        "alone", lambda _: [record[0] for record in cluster.store.history[before:]][:1] == [["n1"]]
    )
    cluster.until_record("n1", "n2")


def test_a_snapshot_stands_still_until_its_time_is_over(cluster: Cluster) -> None:
    two = cluster.sides["n2"]
    two.do("ask", name="data", request={"do": "isolate", "seconds": 30.0})
    cluster.until_record("n1")
    cluster.write("n1", "later")
    guest = cluster.guests["n2"]
    assert cluster.look("n2")["header"]["isolated"]
    guest.shell(
        "mkdir -p /run/s; mount -o ro,noload $(losetup -rf --show /mnt/v/data.img) /run/s;"
        "cat /run/s/first; test ! -e /run/s/later; umount /run/s; losetup -j /mnt/v/data.img"
    )
    cluster.until_record("n1", "n2")
    assert not cluster.look("n2")["header"]["isolated"]


def test_a_refused_start_costs_the_owner_nothing(cluster: Cluster) -> None:
    before = list(cluster.store.history)
    with pytest.raises(Refused):
        cluster.sides["n2"].activate("data", 6)
    look = cluster.look("n1")
    assert (look["serves"], look["details"]["connected"], look["suspended"]) == (True, True, False)
    assert cluster.store.history == before
    cluster.write("n1", "first")


def test_after_a_power_loss_the_other_side_has_everything(cluster: Cluster) -> None:
    cluster.crash("n1")
    cluster.own("n2", 6)
    cluster.sides["n2"].activate("data", 6)
    assert cluster.store.records["data"][0] == ["n2"]
    assert cluster.has("n2", "first")
    cluster.write("n2", "second")


def test_the_old_owner_comes_back_and_gets_the_difference(cluster: Cluster) -> None:
    cluster.arrive("n1")
    cluster.until_record("n1", "n2")
    assert _met(cluster.guests["n1"]) == BY_DIFFERENCE
    with pytest.raises(Refused):
        cluster.sides["n1"].activate("data", 5)
    assert cluster.sides["n2"].state("data") == "active"


def test_a_planned_move_loses_nothing(cluster: Cluster) -> None:
    cluster.until_record("n1", "n2")
    cluster.sides["n2"].deactivate("data", 6)
    cluster.own("n1", 7)
    cluster.sides["n1"].activate("data", 7)
    assert cluster.has("n1", "first", "second")
    cluster.until_record("n1", "n2")


def test_without_the_store_writes_wait_when_the_other_side_is_lost(cluster: Cluster) -> None:
    cluster.store.is_away = True
    cluster.crash("n2")
    guest = cluster.guests["n1"]
    guest.shell("(echo third >/srv/d/third; sync -f /srv/d; touch /run/written) >/dev/null 2>&1 &")
    side = cluster.sides["n1"]
    guest.until("frozen", lambda _: side.do("look", name="data")["suspended"])
    assert guest.attempt("test", "-e", "/run/written").code != 0
    assert cluster.store.records["data"][0] == ["n1", "n2"]
    cluster.store.is_away = False
    cluster.until_record("n1")
    guest.until("written", lambda g: not g.attempt("test", "-e", "/run/written").code)
    assert cluster.has("n1", "third")


def test_a_side_that_is_not_current_is_not_served(cluster: Cluster) -> None:
    cluster.crash("n1")
    cluster.arrive("n2")
    cluster.own("n2", 8)
    with pytest.raises(Refused, match="only n1 has all acknowledged data"):
        cluster.sides["n2"].activate("data", 8)
    assert cluster.guests["n2"].attempt("mountpoint", "-q", "/srv/d").code != 0


def test_a_split_brain_is_refused_until_one_side_is_given_up(cluster: Cluster) -> None:
    """An operator made the stale side current: now both have what the other lacks."""
    two = cluster.sides["n2"]
    generation = two.do("look", name="data")["header"]["current"]
    cluster.store.records["data"] = [["n2"], generation, 8]
    two.activate("data", 8)
    cluster.write("n2", "other")
    cluster.arrive("n1")
    one = cluster.sides["n1"]

    def split(_: Guest) -> bool:
        told = [cluster.look(name).get("details", {}) for name in ("n1", "n2")]
        return any(details.get("verdict") == "split-brain" for details in told)

    cluster.guests["n1"].until("split", split)
    assert cluster.store.records["data"][0] == ["n2"]
    assert cluster.has("n2", "other")
    one.do("ask", name="data", request={"do": "discard", "confirm": "data"})
    cluster.until_record("n1", "n2")
    assert cluster.has("n2", "first", "second", "other")
    two.deactivate("data", 8)
    cluster.own("n1", 9)
    one.activate("data", 9)
    assert cluster.has("n1", "first", "second", "other")
    assert not cluster.has("n1", "third")
    one.deactivate("data", 9)


def test_who_still_serves_when_another_one_owns_it_is_shut_out(cluster: Cluster) -> None:
    """Such as a server that slept: nobody waits for it, and its late writes count for nothing."""
    cluster.own("n1", 10)
    cluster.sides["n1"].activate("data", 10)
    cluster.until_record("n1", "n2")
    cluster.own("n2", 11)
    cluster.sides["n2"].activate("data", 11)
    cluster.write("n2", "after")
    guest = cluster.guests["n1"]
    guest.shell("(echo late >/srv/d/late; sync -f /srv/d; touch /run/late) >/dev/null 2>&1 &")
    guest.until("over", lambda _: bool(cluster.look("n1").get("over")))
    assert guest.attempt("test", "-e", "/run/late").code != 0
    assert cluster.store.records["data"][0] == ["n2"]
    with pytest.raises(Refused, match="DRBD cannot let them fail"):
        cluster.sides["n1"].deactivate("data", 10)
    cluster.crash("n1")
    cluster.arrive("n1")
    cluster.until_record("n1", "n2")
    assert cluster.has("n2", "first", "after")
    assert not cluster.has("n2", "late")
    cluster.sides["n2"].deactivate("data", 11)
