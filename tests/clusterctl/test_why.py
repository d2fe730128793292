"""why: short and honest text, and a document for programs."""

import json

from reconciler.decide.records import Candidate, Ownership
from tests.clusterctl.conftest import KEYS, WALL, FakeCluster
from tests.clusterctl.test_see import event


def taken_over(cluster: FakeCluster) -> FakeCluster:
    cluster.online()
    stored = Ownership.from_bytes(cluster.records(KEYS.group("web"))[KEYS.group("web")])
    choice = (
        Candidate(server="n1", eligible=True, reason="preference 1"),
        Candidate(server="n2", eligible=False, reason="it is \x1b[31mfenced"),
    )
    cluster.put(KEYS.group("web"), stored.model_copy(update={"candidates": choice}))
    steps = [
        event(1, "server_suspected", server="n2"),
        event(2, "group_granted", group="web", server="n1", epoch=3, reason="n2 was fenced"),
        event(3, "group_online", group="web", epoch=3, duration_ms=31.2),
    ]
    for step in steps:
        cluster.put(KEYS.event(step.id), step)
    return cluster


def test_why_of_a_group_fits_a_screen(cluster: FakeCluster) -> None:
    result = taken_over(cluster).run("why", "group/web")
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "group/web  ● online on n1",
        "  because  n2 was fenced",
        f"  decided  given to n1 at epoch 3, from n2, {_stamp()} by n2",
        "  proof    never owned before",
        "",
        "  SERVER  CHOICE    REASON",
        "  n1      ● chosen  preference 1",
        "  n2      ✖ no      it is  [31mfenced",
        "",
        "  MS    AFTER  BY  WHAT",
        "  0     +0     n2  n2 misses heartbeats",
        "  1000  +1000  n2  group web is given to n1 at epoch 3: n2 was fenced",
        "  2000  +1000  n2  all of group web runs (31 ms)",
    ]


def _stamp() -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(WALL - 598, UTC).strftime("%Y-%m-%d %H:%M:%S.000Z")


def test_why_as_json(cluster: FakeCluster) -> None:
    shown = json.loads(taken_over(cluster).run("why", "group/web", "-o", "json").out)
    assert shown["because"] == ["n2 was fenced"]
    assert [c["server"] for c in shown["candidates"]] == ["n1", "n2"]
    assert [s["ms"] for s in shown["timeline"]] == [0.0, 1000.0, 2000.0]


def test_why_of_every_kind_that_is_decided_about(cluster: FakeCluster) -> None:
    taken_over(cluster)
    for ref in ("group/web", "resource/web-ip", "server/n1"):
        result = cluster.run("why", ref)
        assert result.code == 0, (ref, result.err)
        assert result.out.startswith(ref)


def test_why_of_what_is_not_there_or_not_decided(cluster: FakeCluster) -> None:
    cluster.online()
    assert cluster.run("why", "group/wep").code == 2
    result = cluster.run("why", "cluster/demo")
    assert result.code == 2
    assert "nothing is decided about cluster/demo" in result.err
