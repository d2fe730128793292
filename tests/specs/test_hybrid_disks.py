"""What a hybrid disk asks of its group and server groups, told with file and line."""

import pytest

from specs.check import check
from specs.errors import SpecProblem
from specs.load import Source, load
from tests.resources.places import REGISTRY
from tests.specs.sets import CLUSTER, joined, server

SERVERS = [server(number).split("  fencing:")[0] for number in (1, 2, 3, 4)]


def server_group(name: str, *servers: str) -> str:
    return f"""\
apiVersion: clusterctl/v1
kind: ServerGroup
metadata: {{name: {name}}}
spec: {{servers: [{", ".join(servers)}]}}
"""


def group(name: str = "db", spec: str = "{serverGroups: [left, right]}") -> str:
    return f"apiVersion: clusterctl/v1\nkind: Group\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def disk(right: str = "right", name: str = "data", group: str = "db", more: str = "") -> str:
    return f"""\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}}}
spec:
  group: {group}
  type: hybrid-disk
  sides:
    - {{serverGroup: left, device: /dev/disk/by-id/{name}-1}}
    - {{serverGroup: {right}, device: /dev/disk/by-id/{name}-2}}
  size: 1GiB
  mountPoint: /srv/{name}
{more}"""


LEFT, RIGHT = server_group("left", "n1", "n2"), server_group("right", "n3", "n4")


def problems(*texts: str) -> list[SpecProblem]:
    text = joined(CLUSTER, *SERVERS, *texts)
    found = check(load([Source("db.yaml", text.encode())], REGISTRY), REGISTRY)
    return [p for p in found if p.code in ("E0307", "E0201", "W0608")]


def told(*texts: str) -> tuple[str, str, str]:
    (found,) = problems(*texts)
    assert found.file == "db.yaml"
    assert found.line > 0
    return found.code, found.path, found.message


def test_two_server_groups_with_a_disk_each_are_fine() -> None:
    assert problems(LEFT, RIGHT, group(), disk(), disk(name="logs")) == []


def test_a_server_group_that_is_not_there_is_told_with_the_nearest_one() -> None:
    found = [p for p in problems(LEFT, RIGHT, group(), disk("rigth")) if p.code == "E0201"]
    assert [p.path for p in found] == ["spec.sides[1].serverGroup"]
    assert "right" in found[0].message


def test_a_server_has_one_side() -> None:
    overlapping = server_group("right", "n2", "n3")
    code, path, message = told(LEFT, overlapping, group(), disk())
    assert (code, path) == ("E0307", "spec.sides[1].serverGroup")
    assert "n2 is in server group 'left' too" in message


@pytest.mark.parametrize(
    "spec", ["{servers: [n1, n2, n3, n4]}", "{serverGroups: [left]}", "{}", "{servers: [n1]}"]
)
def test_the_group_must_run_on_both_server_groups(spec: str) -> None:
    code, path, message = told(LEFT, RIGHT, group(spec=spec), disk())
    assert (code, path) == ("E0307", "spec.sides")
    assert "serverGroups: [left, right]" in message
    assert "db.yaml:" in message


def test_the_order_of_the_server_groups_is_the_groups_own() -> None:
    assert problems(LEFT, RIGHT, group(spec="{serverGroups: [right, left]}"), disk()) == []


def test_a_server_group_of_one_shares_nothing() -> None:
    code, path, _ = told(LEFT, server_group("right", "n3"), group(), disk())
    assert (code, path) == ("W0608", "spec.sides[1].serverGroup")


def test_the_derived_names_must_be_free() -> None:
    code, path, message = told(LEFT, RIGHT, group(), disk(), group("db-standby"))
    assert (code, path) == ("E0307", "spec.group")
    assert "'db-standby'" in message
    other = disk(name="data-standby")
    assert any(p.path == "metadata.name" for p in problems(LEFT, RIGHT, group(), disk(), other))


def test_a_name_that_leaves_no_room_is_told() -> None:
    long = "a" * 60
    code, path, message = told(LEFT, RIGHT, group(long), disk(group=long))
    assert (code, path) == ("E0307", "spec.group")
    assert "at most 55" in message


def test_what_the_cluster_sets_is_not_for_specs() -> None:
    code, path, _ = told(LEFT, RIGHT, group(), disk(more="  standbyOf: other\n"))
    assert (code, path) == ("E0307", "spec.standbyOf")
