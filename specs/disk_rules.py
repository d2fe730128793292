"""Disks and directories that two resources would use at once; used by the checks."""

import posixpath
from collections.abc import Iterator

from specs.errors import SpecProblem
from specs.resource import Use
from specs.spec_set import ObjectRef, SpecSet


def check_disks(specs: SpecSet) -> Iterator[SpecProblem]:
    """Two resources with the same shared disk, or with the same directory on one server, or with
    one mounted below the other in no certain order."""
    seen: dict[str, list[tuple[str, Use]]] = {}
    for name, resource in specs.resources.items():
        for use in resource.spec.uses():
            known = seen.setdefault(posixpath.normpath(use.name), [])
            for other, theirs in known:
                servers = [
                    server
                    for server in _both(
                        specs, resource.spec.group, specs.resources[other].spec.group
                    )
                    if use.server in ("", server) and theirs.server in ("", server)
                ]
                if not servers and not (use.shared and theirs.shared):
                    continue
                there = specs.objects[ObjectRef("Resource", other)]
                item = specs.objects[ObjectRef("Resource", name)]
                where = f" ({there.source}:{there.line})"
                on = "" if use.shared and theirs.shared else f" on {servers[0]}"
                message = f"{use.name} is used by resource {other!r}{where}{on} already"
                yield item.problem(use.path, message, "E0306")
                break
            known.append((name, use))
    yield from _nested(specs)


def _nested(specs: SpecSet) -> Iterator[SpecProblem]:
    """A mount hides what is mounted below it before, and takes it along when it goes."""
    points = [
        (name, use, posixpath.normpath(use.name))
        for name, resource in specs.resources.items()
        for use in resource.spec.uses()
        if use.is_mount_point
    ]
    for name, use, directory in points:
        for other, _, above in points:
            if other == name or not directory.startswith(above.rstrip("/") + "/"):
                continue
            mine, theirs = specs.resources[name].spec.group, specs.resources[other].spec.group
            servers = _both(specs, mine, theirs)
            if not servers or other in _needed(specs, name):
                continue
            there = specs.objects[ObjectRef("Resource", other)]
            message = (
                f"{use.name} is below {above}, where resource {other!r} "
                f"({there.source}:{there.line}) mounts its disk"
            )
            message += (
                f": list {other!r} in dependsOn, or use volumes of one mirror-disk"
                if mine == theirs
                else f" on {servers[0]}: that one would take it along"
            )
            item = specs.objects[ObjectRef("Resource", name)]
            yield item.problem(use.path, message, "E0306")
            break


def _needed(specs: SpecSet, name: str) -> set[str]:
    """Resources that run before this one by `dependsOn`, of the same group."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        resource = specs.resources[ahead.pop()]
        for other in resource.spec.depends_on or ():
            same = other in specs.resources and (
                specs.resources[other].spec.group == resource.spec.group
            )
            if same and other not in found:
                found.add(other)
                ahead.append(other)
    return found


def _both(specs: SpecSet, one: str, two: str) -> list[str]:
    """Servers that may run both groups."""
    if one not in specs.groups or two not in specs.groups:
        return []
    others = set(specs.eligible_servers(two))
    return [server for server in specs.eligible_servers(one) if server in others]
