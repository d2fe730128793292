"""`volume gate` writes what keeps others off the disks; `volume unlock` opens one for a while."""

from pathlib import Path
from typing import Any

import pytest

import clusterctl.volume_unlock as unlocking
from clusterctl.volume_gate import BEGIN, END, LVM_CONFIG, UDEV_RULES, NotGated, lvm_config
from reconciler.decide.records import EventRecord, Ownership, Wanted
from reconciler.decide.unlocks import VolumeUnlock
from reconciler.plugin import Registry
from reconciler.ports.disks import Claim, DiskView
from tests.clusterctl.conftest import KEYS, SPECS, FakeCluster, TestPdu
from tests.resources.memory_disks import MemoryDisks, MemoryVolumes

DEVICE = "/dev/disk/by-id/wwn-0x6001405a3f1e22bd"
DISK = f"""
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: data}}
spec: {{group: web, type: shared-disk, device: {DEVICE}, mountPoint: /srv/data}}
"""


@pytest.fixture
def gated(cluster: FakeCluster) -> FakeCluster:
    real = Registry.discover()
    cluster.catalogue = Registry(real.resource_types(), real.monitor_types(), [TestPdu])
    return cluster


def _gate(cluster: FakeCluster, text: str, *more: str) -> tuple[int, str, str]:
    path = cluster.file("disk.yaml", text)
    result = cluster.run("volume", "gate", "-f", path, "--root", str(cluster.directory), *more)
    return result.code, result.out, result.err


def test_a_gate_is_written_checked_and_taken_away(gated: FakeCluster) -> None:
    rules, filters = gated.directory / UDEV_RULES, gated.directory / LVM_CONFIG
    assert _gate(gated, DISK, "--check")[0] == 1
    assert not rules.exists()
    code, out, _ = _gate(gated, DISK)
    assert (code, "written for 1 disk:" in out) == (0, True)
    text = rules.read_text()
    assert 'SYMLINK=="disk/by-id/wwn-0x6001405a3f1e22bd", GOTO="clusterctl_gate"' in text
    for wanted in ('ENV{ID_FS_TYPE}=""', 'ENV{UDISKS_IGNORE}="1"', 'ENV{SYSTEMD_READY}="0"'):
        assert wanted in text
    assert "by\\-id/wwn\\-0x6001405a3f1e22bd$|" in filters.read_text()
    assert _gate(gated, DISK, "--check")[:2] == (0, "nothing to change for 1 disk\n")
    without = DISK.replace(f"device: {DEVICE}", "file: /srv/a.img, reservation: none")
    assert _gate(gated, without)[0] == 0
    assert not rules.exists()
    assert not filters.exists()


def test_a_gate_out_of_the_store(gated: FakeCluster) -> None:
    assert gated.run("apply", "-f", gated.file("specs.yaml", SPECS + DISK)).code == 0
    result = gated.run("volume", "gate", "--root", str(gated.directory))
    assert (result.code, (gated.directory / UDEV_RULES).exists()) == (0, True), result.err


def test_a_kernel_name_is_matched_as_such(gated: FakeCluster) -> None:
    text = DISK.replace(DEVICE, "/dev/sdb, allowUnstableName: true")
    assert _gate(gated, text)[0] == 0
    assert 'KERNEL=="sdb"' in (gated.directory / UDEV_RULES).read_text()


def test_what_others_wrote_for_lvm_stays() -> None:
    found = "# my settings\nlocal {\n}\n"
    once = lvm_config([DEVICE], found)
    assert once.startswith(found + BEGIN)
    assert lvm_config([DEVICE], once) == once
    assert lvm_config([], once) == found
    commented = '# global_filter = [ "a|.*|" ]\n'
    assert END in lvm_config([DEVICE], commented)


def test_a_filter_of_somebody_else_is_not_overruled(gated: FakeCluster) -> None:
    path = gated.directory / LVM_CONFIG
    path.parent.mkdir(parents=True)
    path.write_text('devices {\n  global_filter = [ "a|/dev/vda|" ]\n}\n')
    before = path.read_text()
    code, _, err = _gate(gated, DISK)
    assert (code, path.read_text()) == (5, before)
    assert "global_filter of its own" in err
    assert not (gated.directory / UDEV_RULES).exists()


@pytest.mark.parametrize("device", ['/dev/x"y', "/dev/a b", "/dev/x\ny", "/dev/x|y"])
def test_no_name_becomes_a_rule(device: str) -> None:
    from clusterctl.volume_gate import udev_rules

    for make in (udev_rules, lambda names: lvm_config(names, "")):
        with pytest.raises(NotGated):
            make([device])


@pytest.fixture
def disks(gated: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> MemoryDisks:
    """Those of a server on which `volume unlock` runs."""
    disks, volumes = MemoryDisks(), MemoryVolumes()
    monkeypatch.setattr(volumes, "close", lambda: None, raising=False)
    monkeypatch.setattr(unlocking, "LinuxDisks", lambda *_: disks)
    monkeypatch.setattr(unlocking, "LinuxVolumes", lambda: volumes)
    disks.volumes = volumes  # type: ignore[attr-defined]
    assert gated.run("apply", "-f", gated.file("specs.yaml", SPECS + DISK)).code == 0
    return disks


def _events(cluster: FakeCluster) -> list[tuple[str, dict[str, Any]]]:
    found = [EventRecord.from_bytes(value) for value in cluster.records(KEYS.events).values()]
    return [(event.name, event.fields) for event in found if event.name.startswith("volume_")]


def test_a_disk_is_opened_for_a_while_and_locked_again(
    gated: FakeCluster, disks: MemoryDisks
) -> None:
    gated.put(KEYS.group("web"), Ownership(group="web", epoch=7, owner=None, nonce="x"))
    seen = []
    plain = disks.reserve

    async def reserve(device: str, resource: str, permit: Any) -> None:
        seen.append((device, resource, permit.epoch))
        disks.volumes.mounts["/mnt"] = device  # type: ignore[attr-defined]
        await plain(device, resource, permit)

    disks.reserve = reserve  # type: ignore[method-assign]
    result = gated.run("volume", "unlock", "resource/data", "--ttl", "1s", "--why", "repair")
    assert (result.code, "the time is over" in result.out) == (0, True), result.err
    assert seen == [(DEVICE, "data", 8)], "shuts out whoever had it before"
    record = Ownership.from_bytes(gated.records(KEYS.group("web"))[KEYS.group("web")])
    assert (record.epoch, record.owner) == (8, None), "the next owner has a newer one"
    assert gated.records(KEYS.unlock("data")) == {}
    assert (disks.holders, disks.volumes.mounts) == ({}, {})  # type: ignore[attr-defined]
    told = dict(_events(gated))
    assert sorted(told) == ["volume_locked", "volume_unlocked"]
    assert told["volume_unlocked"]["why"] == "repair"
    assert told["volume_unlocked"]["who"]


def test_it_ends_when_the_group_is_started(gated: FakeCluster, disks: MemoryDisks) -> None:
    def start() -> None:
        record = Ownership(group="web", epoch=1, owner="n1", boot_id="boot-n1", nonce="y")
        gated.put(KEYS.group("web"), record)

    gated.interrupt_when = lambda: False
    result = gated.run_until_interrupted("volume", "unlock", "data", "--ttl", "60s", then=start)
    assert (result.code, "is being started" in result.out) == (0, True), result.err
    assert disks.holders == {}


def test_an_interrupt_locks_it_again(gated: FakeCluster, disks: MemoryDisks) -> None:
    result = gated.run_until_interrupted("volume", "unlock", "data", "--ttl", "60s", lines=1)
    assert (result.code, "it was interrupted" in result.out) == (0, True), result.err
    assert disks.holders == {}


def test_the_disk_of_a_group_that_runs_is_its_owners(
    gated: FakeCluster, disks: MemoryDisks
) -> None:
    gated.online()
    assert gated.run("apply", "-f", gated.file("specs.yaml", SPECS + DISK)).code == 0
    result = gated.run("volume", "unlock", "data", "--ttl", "60s")
    assert (result.code, disks.holders) == (5, {})
    assert "clusterctl stop group/web" in result.err
    assert _events(gated) == []


def test_a_disk_that_is_in_use_here_is_not_opened(gated: FakeCluster, disks: MemoryDisks) -> None:
    disks.view = DiskView("", taken=True)
    result = gated.run("volume", "unlock", "data", "--ttl", "60s")
    assert (result.code, disks.holders, _events(gated)) == (5, {}, [])


def test_two_persons_never_have_it_at_once(gated: FakeCluster, disks: MemoryDisks) -> None:
    """On two servers with one key the disk would let both of them write."""
    found = []

    def again() -> None:
        (value,) = gated.records(KEYS.unlock("data")).values()
        found.append(VolumeUnlock.from_bytes(value))

    gated.interrupt_when = lambda: bool(found)
    first = gated.run_until_interrupted("volume", "unlock", "data", "--ttl", "60s", then=again)
    assert first.code == 0, first.err
    other = found[0].model_copy(update={"server": "n2"})
    gated.put(KEYS.unlock("data"), other)
    result = gated.run("volume", "unlock", "data", "--ttl", "60s")
    assert (result.code, disks.holders) == (5, {})
    assert "has data unlocked on n2" in result.err


def test_each_time_has_an_epoch_of_its_own(gated: FakeCluster, disks: MemoryDisks) -> None:
    """One that was killed leaves its key, and its mounts, where it was."""
    seen = []
    plain = disks.reserve

    async def reserve(device: str, resource: str, permit: Any) -> None:
        seen.append(permit.epoch)
        await plain(device, resource, permit)

    disks.reserve = reserve  # type: ignore[method-assign]
    for _ in range(2):
        assert gated.run("volume", "unlock", "data", "--ttl", "1s").code == 0
    assert seen == [1, 2]


def test_without_a_reservation_only_a_stopped_group_is_opened(
    gated: FakeCluster, disks: MemoryDisks
) -> None:
    text = SPECS + DISK.replace("mountPoint", "reservation: none, mountPoint")
    assert gated.run("apply", "-f", gated.file("specs.yaml", text)).code == 0
    result = gated.run("volume", "unlock", "data", "--ttl", "1s")
    assert (result.code, "may be started by itself" in result.err) == (5, True)
    stopped = Ownership(group="web", epoch=7, owner=None, wanted=Wanted.OFFLINE, nonce="x")
    gated.put(KEYS.group("web"), stopped)
    assert gated.run("volume", "unlock", "data", "--ttl", "1s").code == 0


def test_without_a_reservation_it_is_locked_when_the_store_is_silent(
    gated: FakeCluster, disks: MemoryDisks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group may be started meanwhile by those that reach the store."""
    text = SPECS + DISK.replace("mountPoint", "reservation: none, mountPoint")
    assert gated.run("apply", "-f", gated.file("specs.yaml", text)).code == 0
    stopped = Ownership(group="web", epoch=7, owner=None, wanted=Wanted.OFFLINE, nonce="x")
    gated.put(KEYS.group("web"), stopped)
    monkeypatch.setattr(unlocking, "SILENCE_S", 0.0)

    async def silent(self: object, guard: object) -> None:
        return None

    monkeypatch.setattr(unlocking._Opened, "_has_changed", silent)
    result = gated.run("volume", "unlock", "data", "--ttl", "60s")
    assert (result.code, "the store does not answer" in result.out) == (0, True)


def test_what_the_new_owner_mounted_here_is_left_to_it(
    gated: FakeCluster, disks: MemoryDisks
) -> None:
    volumes = disks.volumes  # type: ignore[attr-defined]

    def start() -> None:
        record = Ownership(group="web", epoch=9, owner="n1", boot_id="boot-n1", nonce="y")
        disks.noted["data"] = Claim(9, DEVICE, "/srv/data", True)
        volumes.mounts |= {"/srv/data": DEVICE, "/mnt": DEVICE}
        gated.put(KEYS.group("web"), record)

    gated.interrupt_when = lambda: False
    result = gated.run_until_interrupted("volume", "unlock", "data", "--ttl", "60s", then=start)
    assert result.code == 0, result.err
    assert volumes.mounts == {"/srv/data": DEVICE}


@pytest.mark.parametrize("words", [("web-ip", "--ttl", "60s"), ("data", "--ttl", "48h"), ("data",)])
def test_what_cannot_be_opened(
    gated: FakeCluster, disks: MemoryDisks, words: tuple[str, ...]
) -> None:
    assert gated.run("volume", "unlock", *words).code == 2
    assert Path(gated.directory).exists()
