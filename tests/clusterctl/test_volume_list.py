"""The list of volumes is the map of a disk: neither apply nor rollback loses what it leads to."""

import pytest

from tests.clusterctl.conftest import FakeCluster

DATA = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {name: data}
spec:
  group: web
  type: mirror-disk
  file: /var/lib/data.img
  volumes:
    - {name: data, size: 64MiB, mountPoint: /srv/data}
    - {name: wal, size: 16MiB, mountPoint: /srv/wal}
"""
MORE = DATA + "    - {name: more, size: 16MiB, mountPoint: /srv/more}\n"


@pytest.fixture
def applied(cluster: FakeCluster) -> FakeCluster:
    cluster.online()
    assert cluster.run("apply", "-f", cluster.file("data.yaml", DATA)).code == 0
    return cluster


def test_a_volume_with_data_stays_where_it_is(applied: FakeCluster) -> None:
    lines = DATA.splitlines(keepends=True)
    turned = "".join([*lines[:-2], lines[-1], lines[-2]])
    for command in ("apply", "diff"):
        result = applied.run(command, "-f", applied.file("data.yaml", turned))
        assert result.code == 2
        assert "data.yaml:9:" in result.err
        assert "'data' has data here" in result.err
        assert "[E0315]" in result.err


def test_a_rollback_takes_no_volume_away(applied: FakeCluster) -> None:
    before = applied.run("history", "-o", "json").out
    assert applied.run("apply", "-f", applied.file("data.yaml", MORE)).code == 0
    result = applied.run("rollback", "--to", "2")
    assert result.code == 2, before
    assert "volume 'more' has data and would be missing" in result.err


def test_a_larger_last_volume_disturbs_nothing(applied: FakeCluster) -> None:
    larger = DATA.replace("16MiB", "32MiB")
    result = applied.run("diff", "-f", applied.file("data.yaml", larger))
    assert "spec.volumes[1].size" in result.out
    assert "restart" not in result.out
