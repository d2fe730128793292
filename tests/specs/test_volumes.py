"""Volumes in a whole set of specs: they fit, do not clash, and stay where their data is."""

import pytest

from specs.check import check
from specs.diff import diff
from specs.errors import SpecProblem
from specs.load import Source, load
from specs.spec_set import SpecSet
from specs.volume_rules import check_moves
from tests.resources.places import REGISTRY
from tests.specs.sets import CLUSTER, GROUP, joined, server

SERVERS = [server(number).split("  fencing:")[0] for number in (1, 2, 3)]
PAIR = GROUP.replace("[n1, n2, n3]", "[n1, n2]")
OTHER = PAIR.replace("name: web", "name: db")
DATA = "{name: data, size: 64MiB, mountPoint: /srv/a}"
WAL = "{name: wal, size: 16MiB, mountPoint: /srv/b}"


def divided(*volumes: str, name: str = "disk", group: str = "web", **more: object) -> str:
    lines = [f"  {key}: {value}" for key, value in more.items()]
    if volumes:
        lines += ["  volumes:", *(f"    - {volume}" for volume in volumes)]
    return "\n".join(
        [
            "apiVersion: clusterctl/v1",
            "kind: Resource",
            f"metadata: {{name: {name}}}",
            "spec:",
            f"  group: {group}",
            "  type: mirror-disk",
            f"  file: /var/lib/{name}.img",
            *lines,
            "",
        ]
    )


def specs_of(*texts: str) -> SpecSet:
    text = joined(CLUSTER, *SERVERS, PAIR, OTHER, *texts)
    return load([Source("web.yaml", text.encode())], REGISTRY)


def problems(*texts: str) -> list[SpecProblem]:
    codes = ("E0306", "E0311", "E0314", "W0609")
    return [p for p in check(specs_of(*texts), REGISTRY) if p.code in codes]


def only(*texts: str) -> SpecProblem:
    (found,) = problems(*texts)
    assert found.file == "web.yaml"
    assert found.line
    return found


def line_of(found: SpecProblem, *texts: str) -> str:
    return joined(CLUSTER, *SERVERS, PAIR, OTHER, *texts).splitlines()[found.line - 1]


def test_volumes_need_no_size_of_the_disk() -> None:
    assert problems(divided(DATA, WAL)) == []
    spec = specs_of(divided(DATA, WAL)).resources["disk"].spec
    mirror = spec.mirror()
    assert mirror is not None
    assert mirror.size == 80 << 20
    assert problems(divided(DATA, WAL, size="80MiB")) == []


@pytest.mark.parametrize("size", ["79MiB", "81MiB"])
def test_the_disk_is_just_as_large_as_its_volumes(size: str) -> None:
    found = only(divided(DATA, WAL, size=size))
    assert (found.code, found.path) == ("E0314", "spec.size")
    assert f"need 80MiB (each begins at a whole MiB), size says {size}" in found.message


def test_a_volume_that_does_not_end_at_a_whole_mib_costs_the_rest_of_it() -> None:
    odd = DATA.replace("64MiB", "65540KiB")
    assert "need 81MiB" in only(divided(odd, WAL, size="80MiB")).message


def test_names_are_unique_on_a_disk() -> None:
    text = divided(DATA, WAL.replace("wal", "data"))
    found = only(text)
    assert (found.code, found.path) == ("E0314", "spec.volumes[1].name")
    assert "/srv/b" in line_of(found, text)


def test_directories_are_unique_on_a_server() -> None:
    found = only(divided(DATA, WAL.replace("/srv/b", "/srv/a/")))
    assert (found.code, found.path) == ("E0306", "spec.volumes[1].mountPoint")
    more = divided(name="more", mountPoint="/srv/b", size="16MiB", port=1)
    assert "used by resource 'disk'" in only(divided(DATA, WAL), more).message


def test_volumes_of_one_disk_may_lie_in_each_other() -> None:
    assert problems(divided(DATA, WAL.replace("/srv/b", "/srv/a/wal"))) == []
    assert problems(divided(DATA.replace("/srv/a", "/srv/b/data"), WAL)) == []


def test_below_the_mount_of_another_resource_there_must_be_an_order() -> None:
    disk = divided(DATA, WAL)
    inner = divided(name="inner", mountPoint="/srv/b/inner", size="16MiB", port=1)
    found = only(disk, inner)
    assert (found.code, found.path) == ("E0306", "spec.mountPoint")
    assert "list 'disk' in dependsOn" in found.message
    ordered = divided(
        name="inner", mountPoint="/srv/b/inner", size="16MiB", port=1, dependsOn="[disk]"
    )
    assert problems(disk, ordered) == []
    elsewhere = divided(name="inner", group="db", mountPoint="/srv/b/inner", size="16MiB", port=1)
    assert "on n1: that one would take it along" in only(disk, elsewhere).message


def test_what_runs_before_what_it_needs_is_an_order_too() -> None:
    disk = divided(DATA, WAL)
    between = divided(name="middle", mountPoint="/x", size="16MiB", port=1, dependsOn="[disk]")
    inner = divided(name="z", mountPoint="/srv/b/z", size="16MiB", port=2, dependsOn="[middle]")
    assert problems(disk, between, inner) == []


def test_a_disk_does_not_lie_on_one_of_its_volumes() -> None:
    text = divided(DATA, WAL.replace("/srv/b", "/var/lib"))
    assert (only(text).code, only(text).path) == ("E0311", "spec.file")


def test_two_asynchronous_mirrors_are_told_of_volumes() -> None:
    many = [divided(DATA, name=name, mode="async") for name in ("a", "b")]
    many[1] = many[1].replace("/srv/a", "/srv/c")
    assert "one mirror-disk with `volumes`" in only(*many).message
    assert problems(divided(DATA, WAL, mode="async")) == []


MONITOR = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: look}
spec: {type: disk, target: group/web, resource: disk, volume: VOLUME}
"""


def test_a_monitor_of_a_volume_that_is_not_there_is_refused() -> None:
    disk = divided(DATA, WAL)
    for name, wanted in (("wal", []), ("wall", ["spec.volume"])):
        specs = specs_of(disk, MONITOR.replace("VOLUME", name))
        found = [p for p in check(specs, REGISTRY) if p.code == "E0201"]
        assert [p.path for p in found] == wanted
        assert all("did you mean 'wal'?" in p.message for p in found)


def moves(old: str, new: str) -> list[tuple[str, str]]:
    found = check_moves(specs_of(old), specs_of(new))
    return [(p.path, p.code) for p in found]


MORE = "{name: more, size: 16MiB, mountPoint: /srv/c}"


@pytest.mark.parametrize(
    ("new", "path"),
    [
        (divided(WAL, DATA), "spec.volumes[0]"),
        (divided(DATA), "spec.volumes"),
        (divided(DATA, MORE, WAL), "spec.volumes[1]"),
        (divided(DATA.replace("64MiB", "65MiB"), WAL), "spec.volumes[0]"),
        (divided(DATA, WAL.replace("16MiB", "32MiB")), None),
        (divided(DATA, WAL, MORE), None),
        (divided(DATA, WAL.replace("/srv/b", "/srv/d")), None),
        (divided(mountPoint="/srv/a", size="80MiB"), "spec.size"),
    ],
)
def test_changes_that_would_move_data_are_refused(new: str, path: str | None) -> None:
    wanted = [(path, "E0315")] if path else []
    assert moves(divided(DATA, WAL), new) == wanted


@pytest.mark.parametrize(
    ("new", "path", "impact"),
    [
        (divided(DATA, WAL.replace("16MiB", "32MiB")), "spec.volumes[1].size", "none"),
        (divided(DATA, WAL.replace("/srv/b", "/srv/d")), "spec.volumes[1].mountPoint", "resource"),
        (divided(DATA, WAL, MORE), "spec.volumes[2]", "resource"),
        (divided(DATA), "spec.volumes", "resource"),
    ],
)
def test_a_larger_last_volume_disturbs_nothing(new: str, path: str, impact: str) -> None:
    (found,) = diff(specs_of(divided(DATA, WAL)), specs_of(new))
    assert [(field.path, field.impact) for field in found.fields] == [(path, impact)]


def test_a_whole_disk_becomes_the_first_volume_and_never_shrinks() -> None:
    whole = divided(mountPoint="/srv/a", size="64MiB")
    assert moves(whole, divided(DATA, WAL)) == []
    assert moves(whole, divided(WAL, DATA)) == [("spec.volumes[0]", "E0315")]
    assert moves(whole, divided(mountPoint="/srv/a", size="32MiB")) == [("spec.size", "E0315")]
