"""`clusterctl mirror`: what is shown, which wishes are written, and what ends them."""

import json

import pytest

from reconciler.decide.mirror_status import MirrorCheck, MirrorStatus
from reconciler.decide.records import MirrorRecord, Operation, OperationKind
from tests.clusterctl.conftest import KEYS, WALL, FakeCluster

DATA = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec: {group: web, type: mirror-disk, file: /srv/x, size: 16MiB, mountPoint: /srv/data}
"""


def side(server: str, **fields: object) -> MirrorStatus:
    values = {"resource": "data", "server": server, "boot_id": f"boot-{server}", "size": 16 << 20}
    values["epoch"] = 3
    return MirrorStatus(**(values | fields))


@pytest.fixture
def mirror(cluster: FakeCluster) -> FakeCluster:
    """In sync, served by n1."""
    cluster.online()
    assert cluster.run("apply", "-f", cluster.file("data.yaml", DATA)).code == 0
    tell(cluster, "n1", serving=True, stage="both", connected=True, address="10.77.1.12")
    tell(cluster, "n2", connected=True)
    name(cluster, "n1", "n2")
    return cluster


def tell(cluster: FakeCluster, server: str, **fields: object) -> None:
    cluster.put(KEYS.mirror_status(server, "data"), side(server, **fields))


def name(cluster: FakeCluster, *servers: str) -> None:
    record = MirrorRecord(resource="data", servers=servers, generation="g", epoch=3)
    cluster.put(KEYS.mirror("data"), record)


def test_all_mirrors_and_one(mirror: FakeCluster) -> None:
    shown = mirror.run("mirror", "status")
    assert shown.code == 0
    assert "data    web    ● in-sync  n1      n1, n2" in shown.out
    one = mirror.run("mirror", "status", "resource/data")
    assert "mirror data of group/web  ● in-sync" in one.out
    assert "connected to 10.77.1.12" in one.out
    found = json.loads(mirror.run("mirror", "status", "data", "-o", "json").out)
    assert (found["state"], found["serves"], found["holders"]) == ("in-sync", "n1", ["n1", "n2"])


def test_a_copy_shows_how_far_it_is(mirror: FakeCluster) -> None:
    copying = {"serving": True, "stage": "alone", "connected": True}
    tell(mirror, "n1", **copying, copied=4 << 20, to_copy=12 << 20, rate=1 << 20, seconds_left=12)
    tell(mirror, "n2", connected=True, consistent=False, as_of_wall=WALL - 60)
    name(mirror, "n1")
    out = mirror.run("mirror", "status", "data").out
    assert "25 %  4.0 MiB of 16.0 MiB  1.0 MiB/s  12 s left" in out
    assert "as of 1m ago" in out
    assert "25 %    12s   1m" in mirror.run("mirror", "status").out


def test_without_mirrors(cluster: FakeCluster) -> None:
    assert "no resource is a mirror" in cluster.online().run("mirror", "status").out
    assert cluster.run("mirror", "status", "web-ip").code == 2
    assert "no mirrored disk" in cluster.run("mirror", "verify", "web-ip").err


@pytest.mark.parametrize(
    ("words", "kind", "fields"),
    [
        (("limit", "data", "50MiB"), OperationKind.MIRROR_LIMIT, {"limit": 50 << 20}),
        (("limit", "data", "none"), OperationKind.MIRROR_LIMIT, {"limit": 0}),
        (
            ("isolate", "data", "--ttl", "10m"),
            OperationKind.MIRROR_ISOLATE,
            {"for_s": 600.0, "to": "n2"},
        ),
        (("rejoin", "data"), OperationKind.MIRROR_REJOIN, {"to": "n2"}),
        (("discard", "data", "--server", "n2"), OperationKind.MIRROR_DISCARD, {"to": "n2"}),
        (
            ("promote", "data", "--server", "server/n2", "--accept-data-loss"),
            OperationKind.MIRROR_PROMOTE,
            {"to": "n2"},
        ),
    ],
)
def test_each_wish_is_written_with_who_and_why(
    mirror: FakeCluster, words: tuple[str, ...], kind: OperationKind, fields: dict[str, object]
) -> None:
    mirror.answers[str(kind)] = (True, "it is so")
    result = mirror.run("mirror", *words, "--why", "drill")
    assert (result.code, result.out) == (0, "● it is so\n")
    (operation,) = mirror.operations()
    assert (operation.kind, operation.target, operation.why) == (kind, "resource/data", "drill")
    assert {field: getattr(operation, field) for field in fields} == fields
    assert operation.who


def test_data_is_not_given_up_by_accident(mirror: FakeCluster) -> None:
    result = mirror.run("mirror", "promote", "data", "--server", "n2")
    assert result.code == 5
    assert "--accept-data-loss" in result.err
    assert not mirror.operations()


def test_nobody_serves_so_the_side_must_be_named(mirror: FakeCluster) -> None:
    tell(mirror, "n1")
    result = mirror.run("mirror", "isolate", "data")
    assert result.code == 2
    assert "--server (n1, n2)" in result.err


def test_what_the_coordinator_refuses_is_5(mirror: FakeCluster) -> None:
    mirror.refuses["mirror-resync"] = "nobody serves data"
    result = mirror.run("mirror", "resync", "data")
    assert (result.code, result.err.splitlines()[0]) == (5, "refused: nobody serves data")


def test_a_resync_is_followed_until_both_have_all_data(
    mirror: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its progress goes to stderr, the result to stdout."""
    mirror.answers["mirror-resync"] = (True, "everything is copied again")
    copying = {"serving": True, "stage": "alone", "connected": True, "to_copy": 1 << 20}
    end = mirror._end

    def begins(key: str, operation: Operation) -> None:
        name(mirror, "n1")
        tell(mirror, "n1", **copying, copied=1 << 20)
        end(key, operation)

    async def copies() -> None:
        import asyncio

        while not any(o.result for o in mirror.operations()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        name(mirror, "n1", "n2")
        tell(mirror, "n1", serving=True, stage="both", connected=True)

    monkeypatch.setattr(mirror, "_end", begins)
    mirror.background.append(copies)
    result = mirror.run("mirror", "resync", "data", "--full")
    assert (result.code, result.out) == (0, "● n1 and n2 have all data of data\n")
    assert "50 %  1.0 MiB of 2.0 MiB" in result.err
    assert mirror.operations()[0].how == "full"


def test_a_split_brain_ends_the_waiting(mirror: FakeCluster) -> None:
    mirror.answers["mirror-resync"] = (True, "the difference is copied")
    split = {"serving": True, "stage": "alone", "verdict": "split-brain", "verdict_reason": "so"}
    tell(mirror, "n1", **split)
    name(mirror, "n1")
    result = mirror.run("mirror", "resync", "data")
    assert result.code == 6
    assert "next: clusterctl mirror discard data --server n2" in result.err


@pytest.mark.parametrize(
    ("different", "part", "ended", "code", "said"),
    [
        (0, 4096, "done", 0, "both sides are equal"),
        (3, 1 << 20, "done", 1, "3 parts of 1 MiB differ"),
        (3, 4096, "done", 1, "3 parts of 4 KiB differ"),
        (0, 4096, "the other side is not in sync", 6, "not to the end"),
    ],
)
def test_a_comparison_says_what_it_found(
    mirror: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    different: int,
    part: int,
    ended: str,
    code: int,
    said: str,
) -> None:
    mirror.answers["mirror-verify"] = (True, "both sides are compared")
    end = mirror._end

    def compares(key: str, operation: Operation) -> None:
        check = MirrorCheck(different=different, part=part, ended=ended, operation=operation.id)
        tell(mirror, "n1", serving=True, stage="both", connected=True, check=check)
        end(key, operation)

    monkeypatch.setattr(mirror, "_end", compares)
    result = mirror.run("mirror", "verify", "data")
    assert result.code == code, result.err
    assert said in result.out + result.err


def test_status_tells_of_a_mirror_that_is_not_in_sync(mirror: FakeCluster) -> None:
    assert "resource/data" not in mirror.run("status").out
    tell(mirror, "n1", serving=True, stage="alone", connected=True, copied=1, to_copy=1)
    name(mirror, "n1")
    assert "resource/data: the other side is being copied to: 50 %" in mirror.run("status").out
    tell(mirror, "n1", serving=True, stage="alone", problem="10.77.1.12: no route")
    out = mirror.run("status").out
    assert "resource/data: alone; only n1 has all acknowledged data; 10.77.1.12: no route" in out
    assert "clusterctl mirror resync data" in out


def test_differences_that_a_comparison_found_are_told_until_they_are_copied(
    mirror: FakeCluster,
) -> None:
    def compared(**fields: object) -> str:
        check = MirrorCheck(different=1, ended="done", **fields)  # type: ignore[arg-type]
        tell(mirror, "n1", serving=True, stage="both", connected=True, check=check)
        return mirror.run("status").out + mirror.run("mirror", "status", "data").out

    found = compared()
    assert "resource/data: in sync; at the last comparison 1 part of 1 MiB differs" in found
    assert found.count("next: clusterctl mirror resync data --checksum") == 2
    repaired = compared(repair=True)
    assert "next:" not in repaired
    assert "compared: 1 part of 1 MiB differs; copied again" in repaired


def test_everything_and_what_differs_are_two_wishes(mirror: FakeCluster) -> None:
    result = mirror.run("mirror", "resync", "data", "--full", "--checksum")
    assert result.code == 2
    assert "give one of them" in result.err


@pytest.mark.parametrize(
    ("n1", "holders", "result"),
    [
        ({"stage": "both", "connected": True}, ("n1", "n2"), "PASS"),
        ({"stage": "alone", "connected": True, "to_copy": 1}, ("n1",), "WARN"),
        ({"stage": "alone"}, ("n1",), "FAIL"),
        ({"serving": False}, ("n1",), "FAIL"),
        ({"serving": False}, ("n1", "n2"), "PASS"),
    ],
)
def test_doctor_knows_whether_the_other_side_could_take_over(
    mirror: FakeCluster, n1: dict[str, object], holders: tuple[str, ...], result: str
) -> None:
    tell(mirror, "n1", **({"serving": True} | n1))
    name(mirror, *holders)
    checks = json.loads(mirror.run("doctor", "-o", "json").out)
    (check,) = [c for c in checks if c["id"] == "mirrors"]
    assert check["result"] == result
    assert bool(check["next"]) is (result != "PASS")
