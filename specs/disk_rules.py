"""Disks and directories that two resources would use at once; used by the checks."""

import posixpath
from collections.abc import Iterator

from specs.errors import SpecProblem
from specs.resource import Use
from specs.spec_set import ObjectRef, SpecSet


def check_disks(specs: SpecSet) -> Iterator[SpecProblem]:
    """Two resources with the same shared disk, or with the same directory on one server."""
    seen: dict[str, list[tuple[str, Use]]] = {}
    for name, resource in specs.resources.items():
        for use in resource.spec.uses():
            known = seen.setdefault(posixpath.normpath(use.name), [])
            for other, theirs in known:
                servers = _both(specs, resource.spec.group, specs.resources[other].spec.group)
                if not servers and not (use.shared and theirs.shared):
                    continue
                there = specs.objects[ObjectRef("Resource", other)]
                item = specs.objects[ObjectRef("Resource", name)]
                where = f" ({there.source}:{there.line})"
                on = "" if use.shared and theirs.shared else f" on {servers[0]}"
                message = f"{use.name} is used by resource {other!r}{where}{on} already"
                yield item.problem(("spec", use.field), message, "E0306")
                break
            known.append((name, use))


def _both(specs: SpecSet, one: str, two: str) -> list[str]:
    """Servers that may run both groups."""
    if one not in specs.groups or two not in specs.groups:
        return []
    others = set(specs.eligible_servers(two))
    return [server for server in specs.eligible_servers(one) if server in others]
