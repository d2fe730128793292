"""Mirrored disks of a whole set: two servers, ports, networks, files."""

import pytest

from specs.check import check
from specs.errors import SpecProblem
from specs.load import Source, load
from tests.resources.places import REGISTRY
from tests.specs.sets import CLUSTER, GROUP, joined, server

MIRROR = """\
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: {name}}}
spec:
  group: {group}
  type: mirror-disk
  file: /var/lib/{name}.img
  size: 64MiB
  mountPoint: /srv/{name}
{more}
"""
SERVERS = [server(number).split("  fencing:")[0] for number in (1, 2, 3)]
PAIR = GROUP.replace("[n1, n2, n3]", "[n1, n2]")
OTHER = PAIR.replace("name: web", "name: db")


def mirror(name: str = "data", group: str = "web", **more: object) -> str:
    lines = "\n".join(f"  {key}: {value}" for key, value in more.items())
    return MIRROR.format(name=name, group=group, more=lines)


def problems(*texts: str, group: str = PAIR) -> list[SpecProblem]:
    text = joined(CLUSTER, *SERVERS, group, OTHER, *texts)
    found = check(load([Source("web.yaml", text.encode())], REGISTRY), REGISTRY)
    codes = ("E0201", "E0308", "E0309", "E031", "W0609", "W0610")
    return [problem for problem in found if problem.code.startswith(codes)]


def only(*texts: str, **more: str) -> SpecProblem:
    (found,) = problems(*texts, **more)
    assert found.file == "web.yaml"
    assert found.line
    return found


def test_a_mirror_on_two_servers_is_fine() -> None:
    assert problems(mirror()) == []


@pytest.mark.parametrize("servers", ["[n1]", "[n1, n2, n3]"])
def test_a_mirror_has_exactly_two_servers(servers: str) -> None:
    found = only(mirror(), group=GROUP.replace("[n1, n2, n3]", servers))
    assert (found.code, found.path) == ("E0308", "spec.group")
    assert f"'web' has {servers.count('n')}" in found.message


def test_each_mirror_of_a_server_has_a_port_of_its_own() -> None:
    found = only(mirror(), mirror("more", "db"))
    assert (found.code, found.path) == ("E0309", "spec.port")
    assert "port 7788 is used by mirror 'data' (web.yaml:" in found.message
    assert "7789 is free" in found.message
    assert problems(mirror(), mirror("more", "db", port=7789)) == []


def test_the_networks_must_be_there_on_both() -> None:
    assert "did you mean 'private'?" in only(mirror(networks="[privat]")).message
    assert problems(mirror(networks="[private]")) == []


def test_both_servers_need_an_address_in_the_same_network() -> None:
    alone = [*SERVERS]
    alone[1] = alone[1].replace("private: 10.77.1.12, ", "")
    text = joined(CLUSTER, *alone, PAIR, OTHER, mirror(networks="[private]"))
    found = check(load([Source("web.yaml", text.encode())], REGISTRY), REGISTRY)
    assert [p.code for p in found if p.code == "E0310"] == ["E0310"]


def test_nothing_of_a_mirror_lies_on_the_mirror() -> None:
    text = mirror().replace("/var/lib/data.img", "/srv/data/x.img")
    assert (only(text).code, only(text).path) == ("E0311", "spec.file")
    inside = only(mirror(metadataFile="/srv/data/meta"))
    assert inside.path == "spec.metadataFile"
    assert "holds the data already" in only(mirror(metadataFile="/var/lib/data.img")).message


def test_asynchronous_mirrors_of_one_group_are_of_two_moments() -> None:
    two = [
        mirror(mode="async", queueLimit="16MiB"),
        mirror("more", mode="async", port=1, queueLimit="16MiB"),
    ]
    found = only(*two)
    assert (found.code, found.severity.value) == ("W0609", "warning")
    apart = [two[0], mirror("more", "db", mode="async", port=1, queueLimit="16MiB")]
    assert problems(*apart) == []


def test_a_queue_longer_than_the_disk_is_told() -> None:
    assert only(mirror(mode="async")).code == "W0610"
    assert problems(mirror(mode="async", queueLimit="64MiB")) == []


def own_devices(name: str, **devices: str) -> str:
    text = mirror(name, devices=str(devices).replace("'", ""))
    return text.replace(f"  file: /var/lib/{name}.img\n", "")


def test_both_servers_may_have_a_device_of_their_own() -> None:
    assert problems(own_devices("data", n1="/dev/disk/by-id/a", n2="/dev/disk/by-id/b")) == []
    assert problems(own_devices("data", n1="/dev/vg0/data", n2="/dev/vg0/data")) == []


def test_a_server_without_a_device_is_told() -> None:
    missing, unknown = problems(own_devices("data", n1="/dev/disk/by-id/a", n3="/dev/disk/by-id/b"))
    assert (unknown.code, unknown.path) == ("E0201", "spec.devices.n3")
    assert (missing.code, missing.path) == ("E0308", "spec.devices")
    assert "no device for n2" in missing.message


def test_a_device_that_two_mirrors_have_on_one_server_is_told() -> None:
    one = own_devices("data", n1="/dev/disk/by-id/a", n2="/dev/disk/by-id/b")
    two = own_devices("more", n1="/dev/disk/by-id/b", n2="/dev/disk/by-id/a")
    assert not disk_problems(one, two)
    two = own_devices("more", n1="/dev/disk/by-id/c", n2="/dev/disk/by-id/b")
    (found,) = disk_problems(one, two)
    assert (found.code, found.path) == ("E0306", "spec.devices.n2")


def disk_problems(*texts: str) -> list[SpecProblem]:
    ports = [text + f"  port: {7790 + number}\n" for number, text in enumerate(texts)]
    text = joined(CLUSTER, *SERVERS, PAIR, OTHER, *ports)
    found = check(load([Source("web.yaml", text.encode())], REGISTRY), REGISTRY)
    return [problem for problem in found if problem.code == "E0306"]
