"""Rules of mirrored disks that span objects: their servers, ports and networks; used by the checks.

What only the servers know of their devices is judged by `clusterctl.device_rules`.
"""

import posixpath
from collections.abc import Iterable, Iterator

from specs.errors import SpecProblem, nearest
from specs.resource import Mirror, Use
from specs.spec_set import LoadedObject, ObjectRef, SpecSet


def check_mirrors(specs: SpecSet) -> Iterator[SpecProblem]:
    """Every mirror by itself, then those that meet on a server."""
    found: dict[str, Mirror] = {}
    for name, resource in specs.resources.items():
        mirror = resource.spec.mirror()
        if mirror is None or resource.spec.group not in specs.groups:
            continue
        found[name] = mirror
        item = specs.objects[ObjectRef("Resource", name)]
        servers = specs.eligible_servers(resource.spec.group)
        if mirror.two_servers and len(servers) != 2:
            yield _two(item, resource.spec.group, servers)
        elif mirror.devices:
            yield from _own_devices(item, mirror, servers)
        yield from _networks(specs, item, mirror, servers)
        yield from _own_files(item, mirror, resource.spec.uses())
        if mirror.asynchronous and 0 < mirror.size < mirror.queue_limit:
            text = "the queue may hold more than the whole disk: a copy of it would be shorter"
            yield item.problem(("spec", "queueLimit"), text, "W0610", at="key")
    yield from _ports(specs, found)
    yield from _moments(specs, found)


def _two(item: LoadedObject, group: str, servers: tuple[str, ...]) -> SpecProblem:
    names = f": {', '.join(servers)}" if servers else ""
    text = f"a mirror has exactly two servers, group {group!r} has {len(servers)}{names}"
    return item.problem(("spec", "group"), text, "E0308")


def _own_devices(
    item: LoadedObject, mirror: Mirror, servers: tuple[str, ...]
) -> Iterator[SpecProblem]:
    given = [name for name, _ in mirror.devices]
    for name in given:
        if name not in servers:
            text = f"the group does not run on {name!r}{nearest(name, servers)}"
            yield item.problem(("spec", "devices", name), text, "E0201", at="key")
    missing = [server for server in servers if server not in given]
    if missing:
        text = f"there is no device for {' and '.join(missing)}"
        yield item.problem(("spec", "devices"), text, "E0308", at="key")


def _networks(
    specs: SpecSet, item: LoadedObject, mirror: Mirror, servers: tuple[str, ...]
) -> Iterator[SpecProblem]:
    known = [network.name for network in specs.cluster.spec.networks] if specs.cluster else []
    unknown = [(n, name) for n, name in enumerate(mirror.networks) if name not in known]
    for number, name in unknown if known else ():
        text = f"there is no network {name!r}{nearest(name, known)}"
        yield item.problem(("spec", "networks", number), text, "E0201")
    if len(servers) < 2 or not known or unknown:
        return
    wanted = mirror.networks or tuple(known)
    common = [n for n in wanted if all(n in specs.servers[s].spec.addresses for s in servers)]
    if not common:
        field = "networks" if mirror.networks else "group"
        text = f"{' and '.join(servers)} have no address in the same network to mirror over"
        yield item.problem(("spec", field), text, "E0310")


def _own_files(item: LoadedObject, mirror: Mirror, uses: Iterable[Use]) -> Iterator[SpecProblem]:
    """A file on the disk that it is for, or two things in one file."""
    spec = item.model.to_json()["spec"]
    points = [posixpath.normpath(use.name) for use in uses if use.is_mount_point]
    given = {"file": mirror.file, "metadataFile": mirror.metadata}
    for field, path in given.items():
        inside = [p for p in points if path and posixpath.normpath(path).startswith(p + "/")]
        if inside and field in spec:
            point = inside[-1]
            text = f"{path} would lie on the disk itself, which is mounted on {point}"
            yield item.problem(("spec", field), text, "E0311")
    data = mirror.device or mirror.file
    if data and posixpath.normpath(data) == posixpath.normpath(mirror.metadata or "/"):
        text = f"{data} holds the data already; the mirror's metadata needs a place of its own"
        yield item.problem(("spec", "metadataFile"), text, "E0311")


def _ports(specs: SpecSet, mirrors: dict[str, Mirror]) -> Iterator[SpecProblem]:
    """On one server each mirror listens on a port of its own."""
    seen: list[tuple[str, int, set[str]]] = []
    for name, mirror in mirrors.items():
        servers = set(specs.eligible_servers(specs.resources[name].spec.group))
        for other, port, theirs in seen:
            both = sorted(servers & theirs)
            if port == mirror.port and both:
                there = specs.objects[ObjectRef("Resource", other)]
                item = specs.objects[ObjectRef("Resource", name)]
                used = {m.port for m in mirrors.values()}
                free = next(p for p in range(mirror.port + 1, mirror.port + 2000) if p not in used)
                text = (
                    f"port {port} is used by mirror {other!r} ({there.source}:{there.line}) on "
                    f"{both[0]} already; {free} is free"
                )
                yield item.problem(("spec", "port"), text, "E0309")
                break
        seen.append((name, mirror.port, servers))


def _moments(specs: SpecSet, mirrors: dict[str, Mirror]) -> Iterator[SpecProblem]:
    """Each asynchronous standby is a disk of some moment: two of them of two moments."""
    first: dict[str, str] = {}
    for name, mirror in mirrors.items():
        group = specs.resources[name].spec.group
        if not mirror.asynchronous:
            continue
        if group in first:
            item = specs.objects[ObjectRef("Resource", name)]
            text = (
                f"group {group!r} has the asynchronous mirror {first[group]!r} too: after a "
                "failover each of them is as of another moment. What belongs together goes on "
                "one mirror-disk with `volumes`, or use mode: sync"
            )
            yield item.problem(("spec", "mode"), text, "W0609")
        first.setdefault(group, name)
