"""What servers say of their disks stops an apply that would use them twice, with file and line."""

import pytest

from reconciler.decide.records import ServerFacts
from reconciler.decide.storage_facts import Device, FreeSpace, StorageFacts
from tests.clusterctl.conftest import KEYS, FakeCluster

DATA = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: web
  type: mirror-disk
  device: /dev/vg0/data
  size: 64MiB
  mountPoint: /srv/data
"""
GOOD = Device(names=("/dev/dm-0", "/dev/vg0/data"), size=64 << 20)


def tell(cluster: FakeCluster, server: str, *devices: Device, **more: object) -> None:
    storage = StorageFacts.model_validate({"devices": devices, **more})
    facts = ServerFacts(server=server, boot_id="b", storage=storage)
    cluster.put(KEYS.server_facts(server), facts)


def applied(cluster: FakeCluster, text: str = DATA) -> tuple[int, str]:
    result = cluster.run("apply", "--dry-run", "-f", cluster.file("data.yaml", text))
    return result.code, "\n".join(line for line in result.err.splitlines() if "data.yaml" in line)


@pytest.fixture
def told(cluster: FakeCluster) -> FakeCluster:
    cluster.online()
    tell(cluster, "n1", GOOD)
    tell(cluster, "n2", GOOD)
    return cluster


def test_what_fits_is_applied_without_a_word(told: FakeCluster) -> None:
    assert applied(told) == (0, "")


@pytest.mark.parametrize(
    ("device", "code", "said"),
    [
        ({"use": "swap space"}, "E0312", "/dev/vg0/data is swap space on n2"),
        ({"use": "mounted on /home"}, "E0312", "is mounted on /home on n2"),
        ({"use": "a physical volume of LVM"}, "E0312", "is a physical volume of LVM on n2"),
        ({"size": 32 << 20}, "E0313", "has 33554432 bytes on n2, size says 67108864"),
    ],
)
def test_a_device_of_somebody_else_is_refused(
    told: FakeCluster, device: dict[str, object], code: str, said: str
) -> None:
    tell(told, "n2", GOOD.model_copy(update=device))
    status, errors = applied(told)
    assert status == 2
    assert said in errors
    assert f"[{code}]" in errors
    line = DATA.splitlines().index(
        "  size: 64MiB" if code == "E0313" else "  device: /dev/vg0/data"
    )
    assert f"data.yaml:{line + 1}:" in errors


def test_its_own_mount_is_no_other_use(told: FakeCluster) -> None:
    tell(told, "n2", GOOD.model_copy(update={"use": "mounted on /srv/data"}))
    assert applied(told) == (0, "")


def test_a_directory_in_fstab_is_refused(told: FakeCluster) -> None:
    tell(told, "n1", GOOD, fstab=("/srv/data",))
    status, errors = applied(told)
    assert (status, "/etc/fstab" in errors) == (2, True)


def test_what_nobody_knows_is_a_warning(told: FakeCluster) -> None:
    tell(told, "n1")
    told.remove(KEYS.server_facts("n2"))
    status, errors = applied(told)
    assert status == 0
    assert "warning: spec.device: n1 knows no device /dev/vg0/data" in errors
    assert "n2 has not said which devices it has" in errors


def test_room_for_files_is_told_when_they_are_new(told: FakeCluster) -> None:
    little = (FreeSpace(directory="/", free=1 << 20),)
    tell(told, "n1", free=little)
    text = DATA.replace("device: /dev/vg0/data", "file: /var/lib/data.img")
    status, errors = applied(told, text)
    assert status == 0
    assert "n1 has 1048576 bytes free for /var/lib/data.img, size says 67108864" in errors
    assert "are needed [W0612]" in errors


def test_an_apply_that_does_not_change_the_disk_looks_at_nothing(told: FakeCluster) -> None:
    assert told.run("apply", "-f", told.file("data.yaml", DATA)).code == 0
    tell(told, "n2", GOOD.model_copy(update={"use": "swap space"}))
    assert told.run("apply", "-f", told.file("data.yaml", DATA)).code == 0
    told.file("data.yaml", DATA.replace("/srv/data", "/srv/other"))
    result = told.run("diff", "-f", str(told.directory / "data.yaml"))
    assert "is swap space on n2" in result.err


HYBRID = """\
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {name: left}
spec: {servers: [n1]}
---
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {name: right}
spec: {servers: [n2]}
---
apiVersion: clusterctl/v1
kind: Group
metadata: {name: db}
spec: {serverGroups: [left, right]}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: both}
spec:
  group: db
  type: hybrid-disk
  sides:
    - {serverGroup: left, device: /dev/vg0/left}
    - {serverGroup: right, device: /dev/vg0/right}
  reservation: none
  size: 64MiB
  mountPoint: /srv/both
"""


def test_of_a_hybrid_disk_each_server_needs_only_that_of_its_server_group(
    told: FakeCluster,
) -> None:
    left = Device(names=("/dev/vg0/left",), size=128 << 20)
    tell(told, "n1", left)
    tell(told, "n2", left.model_copy(update={"names": ("/dev/vg0/right",)}))
    status, errors = applied(told, HYBRID)
    assert (status, "W0611" in errors, "E03" in errors) == (0, False, False), errors
    tell(told, "n1", left.model_copy(update={"size": 100 << 20}))
    status, errors = applied(told, HYBRID)
    assert status == 2
    assert "/dev/vg0/left has 104857600 bytes on n1" in errors
    assert "the mirror itself takes 67108864" in errors
    tell(told, "n1", GOOD)
    assert "n1 knows no device /dev/vg0/left" in applied(told, HYBRID)[1]
