"""Disks and directories that two resources would use at once."""

import pytest

from specs.check import check
from specs.errors import SpecProblem
from specs.load import Source, load
from tests.resources.places import REGISTRY
from tests.specs.sets import CLUSTER, GROUP, joined, server

DISK = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}}}
spec:
  group: {group}
  type: shared-disk
  device: {device}
  mountPoint: {at}
"""
SERVERS = [server(number).split("  fencing:")[0] for number in (1, 2, 3)]
ONE, TWO = "/dev/disk/by-id/one", "/dev/disk/by-id/two"


def problems(*disks: str, second: str = "[n1, n2]") -> list[SpecProblem]:
    other = GROUP.replace("name: web", "name: db").replace("[n1, n2, n3]", second)
    text = joined(CLUSTER, *SERVERS, GROUP, other, *disks)
    found = check(load([Source("web.yaml", text.encode())], REGISTRY), REGISTRY)
    return [problem for problem in found if problem.code == "E0306"]


def disk(name: str, group: str, device: str, at: str) -> str:
    return DISK.format(name=name, group=group, device=device, at=at)


@pytest.mark.parametrize("second", ["[n1, n2]", "[n3]"])
def test_one_shared_disk_for_two_resources_is_refused_wherever_they_run(second: str) -> None:
    first = disk("a", "web", ONE, "/srv/a")
    (found,) = problems(first, disk("b", "db", ONE, "/srv/b"), second=second)
    assert found.path == "spec.device"
    assert f"{ONE} is used by resource 'a' (web.yaml:" in found.message


def test_one_directory_is_refused_where_both_may_run() -> None:
    first, second = disk("a", "web", ONE, "/srv/a"), disk("b", "db", TWO, "/srv/a/")
    (found,) = problems(first, second)
    assert (found.path, "on n1 already" in found.message) == ("spec.mountPoint", True)
    assert problems(first, disk("b", "db", TWO, "/srv/b")) == []


def test_one_directory_on_different_servers_is_fine() -> None:
    first = disk("a", "web", ONE, "/srv/a")
    narrow = GROUP.replace("[n1, n2, n3]", "[n1, n2]")
    other = GROUP.replace("name: web", "name: db").replace("[n1, n2, n3]", "[n3]")
    text = joined(CLUSTER, *SERVERS, narrow, other, first, disk("b", "db", TWO, "/srv/a"))
    specs = load([Source("web.yaml", text.encode())], REGISTRY)
    assert [p for p in check(specs, REGISTRY) if p.code == "E0306"] == []
