"""A disk that all servers see, mounted by one of them: crashes, users, and a disk that stays busy.

Each server has a loop device and a file system of its own on one file, so a second mount would
damage it. The lab's power-off writes back what a real one would lose: this says nothing of fsync.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long

AT = "/run/data"
IMAGE = "disk.img"
# Goes on where the last one ended, and says so in the log that it appends to.
COUNTER = """\
import os, time
log = open("/run/data/log", "a+")
log.seek(0)
last = ([0] + [int(line) for line in log.read().split()])[-1]
while True:
    last += 1
    log.write(f"{last}\\\\n")
    log.flush()
    os.fsync(log.fileno())
    time.sleep(0.02)
"""
SPECS = """\
apiVersion: clusterctl/v1
kind: Group
metadata: {{name: files}}
spec: {{servers: [n1, n2, n3]}}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: files-disk}}
spec:
  group: files
  type: shared-disk
  file: /srv/disk.img
  reservation: none
  mountPoint: {at}
  unmountGrace: 500ms
  stopTimeout: 10s
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: files-counter}}
spec:
  group: files
  type: application
  command: [{python}, -S, -c, "{counter}"]
"""


@pytest.fixture
def disks(cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    image = cluster.shared / IMAGE
    if not image.exists():
        with image.open("wb") as opened:
            opened.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=60)
        counter = COUNTER.replace("\n", "\\n").replace('"', '\\"')
        text = SPECS.format(at=AT, python=sys.executable, counter=counter)
        path = cluster.lab.directory / "files.yaml"
        path.write_text(text)
        cluster.ctl("apply", str(path))
    cluster.wait_group(name="files")
    yield cluster
    cluster.wait_group(name="files", timeout_s=2 * WAIT_S)
    numbers = counted(cluster)
    assert numbers == list(range(1, len(numbers) + 1)), "no number lost, none twice"


def counted(cluster: ClusterUnderTest) -> list[int]:
    """The whole lines that the owner sees on the disk."""
    text = cluster.on(cluster.owner("files"), "cat", f"{AT}/log")
    return [int(line) for line in text.split("\n")[:-1]]


def mounted_on(cluster: ClusterUnderTest) -> list[str]:
    running = [name for name in SERVERS if cluster.lab_server(name)["state"] == "running"]
    return [name for name in running if AT in cluster.on(name, "cat", "/proc/mounts")]


def grows(cluster: ClusterUnderTest) -> None:
    before = len(counted(cluster))
    cluster.eventually(lambda: len(counted(cluster)) > before, "the counter counts on the disk")


def test_a_crash_of_the_owner_moves_the_disk_with_everything_on_it(
    disks: ClusterUnderTest,
) -> None:
    owner = disks.owner("files")
    assert mounted_on(disks) == [owner]
    grows(disks)
    before = counted(disks)
    disks.break_("crash", owner)
    disks.wait_group(name="files", not_on=owner, timeout_s=2 * WAIT_S)
    assert disks.group("files")["proof"] == "fenced"
    assert mounted_on(disks) == [disks.owner("files")]
    grows(disks)
    assert counted(disks)[: len(before)] == before


def test_whoever_uses_the_disk_is_ended_at_a_move(disks: ClusterUnderTest) -> None:
    owner, began = disks.owner("files"), now_wall()
    disks.on(owner, "sh", "-c", f"cd {AT}; setsid sleep 600 >/dev/null 2>&1 & echo up")
    disks.ctl("move", "group/files")
    disks.wait_group(name="files", not_on=owner)
    assert disks.group("files")["proof"] == "released"
    assert mounted_on(disks) == [disks.owner("files")]
    assert disks.events("machine_reset", "fence_requested", since=began) == []


def test_a_mount_that_is_torn_off_in_use_is_not_mounted_twice(disks: ClusterUnderTest) -> None:
    """Its counter still writes to what nobody sees any more."""
    owner, began = disks.owner("files"), now_wall()
    disks.on(owner, "sh", "-c", f"umount -l {AT}; echo gone")
    disks.wait_event("resource_drifted", began, by=owner, resource="files-disk")
    disks.wait_group(name="files", timeout_s=2 * WAIT_S)
    disks.eventually(
        lambda: mounted_on(disks) == [disks.owner("files")], "it is mounted on its owner"
    )
    grows(disks)


def test_a_server_that_can_not_give_the_disk_up_resets_itself(disks: ClusterUnderTest) -> None:
    """A file of the disk is mounted elsewhere: in use, and by no process."""
    owner, began = disks.owner("files"), now_wall()
    boot = disks.status(f"server/{owner}")["bootId"]
    program = (
        f"truncate -s 8M {AT}/inner && mkfs.ext4 -q -F {AT}/inner && mkdir /run/inner "
        f"&& mount -o loop {AT}/inner /run/inner && echo done"
    )
    assert "done" in disks.on(owner, "sh", "-c", program)
    disks.ctl("move", "group/files", check=False)
    disks.wait_event("machine_reset", began, by=owner, timeout_s=2 * WAIT_S)
    disks.wait_group(name="files", not_on=owner, timeout_s=2 * WAIT_S)
    assert mounted_on(disks) == [disks.owner("files")]
    disks.wait_new_boot(owner, boot)


def test_the_file_system_is_whole_at_the_end(disks: ClusterUnderTest) -> None:
    disks.ctl("stop", "group/files")
    disks.wait_group("offline", name="files")
    image = Path(disks.shared) / IMAGE
    checked = subprocess.run(
        ["e2fsck", "-f", "-n", str(image)], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout
    disks.ctl("start", "group/files")
