"""A mirrored disk grows by a larger size in its file, if both sides can follow."""

import json

import pytest

from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.storage_facts import FreeSpace
from tests.clusterctl.conftest import KEYS, FakeCluster
from tests.clusterctl.test_device_rules import DATA, GOOD, tell

MIB = 1 << 20
FILE = DATA.replace("device: /dev/vg0/data", "file: /var/lib/data.img")


def side(cluster: FakeCluster, server: str, **values: object) -> None:
    found = MirrorStatus(resource="data", server=server, boot_id=f"boot-{server}", **values)  # type: ignore[arg-type]
    cluster.put(KEYS.mirror_status(server, "data"), found)


def applied(cluster: FakeCluster, text: str, *words: str) -> tuple[int, str]:
    result = cluster.run("apply", "-f", cluster.file("data.yaml", text), *words)
    return result.code, "\n".join(line for line in result.err.splitlines() if "data.yaml" in line)


@pytest.fixture
def told(cluster: FakeCluster) -> FakeCluster:
    cluster.online()
    for server in ("n1", "n2"):
        tell(cluster, server, GOOD)
    assert cluster.run("apply", "-f", cluster.file("data.yaml", DATA)).code == 0
    for server in ("n1", "n2"):
        side(cluster, server, size=64 * MIB, room=64 * MIB)
    return cluster


def grown(text: str, size: str = "96MiB") -> str:
    return text.replace("size: 64MiB", f"size: {size}")


def test_what_both_devices_have_room_for_is_applied_and_disturbs_nothing(told: FakeCluster) -> None:
    """What the engines say counts: the servers' own facts are some minutes old."""
    for server in ("n1", "n2"):
        side(told, server, size=64 * MIB, room=100 * MIB)
    shown = told.run("diff", "-f", told.file("data.yaml", grown(DATA)))
    assert "~ spec.size: 64MiB → 96MiB\n" in shown.out
    assert "effect: group/web: data grows from 64MiB to 96MiB, while it is used" in shown.out
    assert "restarts" not in shown.out
    assert applied(told, grown(DATA)) == (0, "")


def test_a_side_that_is_too_small_is_named_with_what_fits(told: FakeCluster) -> None:
    side(told, "n1", size=64 * MIB, room=100 * MIB)
    side(told, "n2", size=64 * MIB, room=80 * MIB)
    status, errors = applied(told, grown(DATA))
    assert status == 2
    line = DATA.splitlines().index("  size: 64MiB") + 1
    text = "has 83886080 bytes on n2, size says 100663296; 80MiB fit on both [E0313]"
    assert f"data.yaml:{line}:" in errors
    assert errors.endswith(text)
    assert applied(told, grown(DATA, "80MiB"))[0] == 0


def test_nothing_grows_that_one_side_may_not_follow(told: FakeCluster) -> None:
    side(told, "n1", size=64 * MIB, room=100 * MIB)
    tell(told, "n2")
    side(told, "n2", size=64 * MIB)
    status, errors = applied(told, grown(DATA))
    assert status == 2
    assert "nobody knows how large /dev/vg0/data is on n2" in errors
    assert "[E0316]" in errors


def test_a_mirror_never_shrinks_below_what_its_sides_have(told: FakeCluster) -> None:
    status, errors = applied(told, grown(DATA, "32MiB"))
    assert (status, "[E0315]" in errors) == (2, True)
    side(told, "n2", size=96 * MIB, room=96 * MIB)
    status, errors = applied(told, DATA + "  copyLimit: 1MiB\n")
    assert status == 2
    assert "mirror data has 96MiB already: it cannot shrink" in errors


def test_drbd_does_not_grow(told: FakeCluster) -> None:
    text = FILE.replace("name: data", "name: old").replace("/srv/data", "/srv/old")
    text += "  engine: drbd\n  port: 7790\n"
    assert told.run("apply", "-f", told.file("old.yaml", text)).code == 0
    result = told.run("apply", "-f", told.file("old.yaml", grown(text)))
    assert (result.code, "engine: drbd cannot grow yet [E0316]" in result.err) == (2, True)


def test_room_for_files_is_counted_from_what_they_have(told: FakeCluster) -> None:
    text = FILE.replace("name: data", "name: old").replace("/srv/data", "/srv/old")
    text += "  port: 7790\n"
    assert told.run("apply", "-f", told.file("old.yaml", text)).code == 0
    for free, said in ((33 * MIB, False), (20 * MIB, True)):
        tell(told, "n1", free=(FreeSpace(directory="/", free=free),))
        result = told.run("apply", "--dry-run", "-f", told.file("old.yaml", grown(text)))
        assert result.code == 0
        needed = "bytes free for /var/lib/data.img, 33554432 more are needed"
        assert (needed in result.err) is said


def test_status_tells_the_size_of_each_side_and_of_its_device(told: FakeCluster) -> None:
    side(told, "n1", size=64 * MIB, room=100 * MIB)
    side(told, "n2", size=64 * MIB, room=64 * MIB)
    lines = told.run("mirror", "status", "data").out.splitlines()
    assert any("n1" in line and "64.0 MiB of 100 MiB" in line for line in lines)
    assert any("n2" in line and "64.0 MiB" in line and " of " not in line for line in lines)
    found = json.loads(told.run("mirror", "status", "data", "-o", "json").out)["sides"]
    assert [one["sizeBytes"] for one in found] == [64 * MIB, 64 * MIB]
    assert [one["roomBytes"] for one in found] == [100 * MIB, 64 * MIB]
