"""operation list and cancel."""

import json

from reconciler.decide.records import Operation, OperationKind, OperationPhase
from tests.clusterctl.conftest import KEYS, FakeCluster


def put(cluster: FakeCluster, name: str, phase: OperationPhase) -> None:
    record = Operation(
        id=name, kind=OperationKind.MOVE, target="group/web", phase=phase, who="alice"
    )
    cluster.put(KEYS.operation(name), record)


def test_list_shows_what_has_not_ended(cluster: FakeCluster) -> None:
    cluster.online()
    put(cluster, "01", OperationPhase.RUNNING)
    put(cluster, "02", OperationPhase.DONE)
    lines = cluster.run("operation", "list").out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("01  move  group/web")
    assert len(json.loads(cluster.run("operation", "list", "--all", "-o", "json").out)) == 2


def test_cancel_is_a_wish_about_the_wish(cluster: FakeCluster) -> None:
    cluster.online().answers["cancel"] = (True, "move group/web is cancelled")
    put(cluster, "01", OperationPhase.RUNNING)
    result = cluster.run("operation", "cancel", "01")
    assert result.code == 0, result.err
    assert "is cancelled" in result.out
    assert [op.target for op in cluster.operations() if op.id != "01"] == ["operation/01"]
    assert cluster.run("operation", "cancel", "07").code == 2
