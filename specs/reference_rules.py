"""Names that must refer to something, and dependencies without circles; used by the checks."""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from specs.errors import SpecProblem, suggestion
from specs.spec_set import LoadedObject, ObjectRef, SpecSet
from specs.yaml_text import Path


def check_references(specs: SpecSet) -> Iterator[SpecProblem]:
    """Every name in the set that refers to no object of the set."""
    for name, server_group in specs.server_groups.items():
        item = specs.objects[ObjectRef("ServerGroup", name)]
        yield from _each(item, ("spec", "servers"), server_group.spec.servers, specs, "Server")
    for name, group in specs.groups.items():
        item = specs.objects[ObjectRef("Group", name)]
        servers, server_groups = group.spec.servers or (), group.spec.server_groups or ()
        yield from _each(item, ("spec", "servers"), servers, specs, "Server")
        yield from _each(item, ("spec", "serverGroups"), server_groups, specs, "ServerGroup")
        if not specs.resources_of(name):
            yield item.problem(("metadata", "name"), "the group has no resources", "W0603")
    for name, resource in specs.resources.items():
        item = specs.objects[ObjectRef("Resource", name)]
        yield from _one(item, ("spec", "group"), resource.spec.group, specs, "Group")
        yield from _dependencies(item, resource.spec.group, resource.spec.depends_on or (), specs)


def check_eligible(specs: SpecSet) -> Iterator[SpecProblem]:
    """Groups that no server may run."""
    for name, group in specs.groups.items():
        if specs.eligible_servers(name):
            continue
        key = "serverGroups" if group.spec.server_groups is not None else "servers"
        reason = "none of its servers exists" if specs.servers else "the set has no Server"
        item = specs.objects[ObjectRef("Group", name)]
        yield item.problem(("spec", key), f"no server may run this group: {reason}", "E0205")


def check_cycles(specs: SpecSet) -> Iterator[SpecProblem]:
    """Circles of `dependsOn`, each named once from its first resource on."""
    for group in sorted({resource.spec.group for resource in specs.resources.values()}):
        members = {item.metadata.name: item for item in specs.resources_of(group)}
        graph = {
            name: [other for other in item.spec.depends_on or () if other in members]
            for name, item in members.items()
        }
        while circle := _circle(graph):
            first, then = circle[0], circle[1 % len(circle)]
            depends_on = members[first].spec.depends_on or ()
            item = specs.objects[ObjectRef("Resource", first)]
            message = f"depends on itself: {' -> '.join((*circle, first))}"
            path: Path = ("spec", "dependsOn", depends_on.index(then))
            yield item.problem(path, message, "E0202")
            gone = set(circle)
            graph = {
                name: [other for other in others if other not in gone]
                for name, others in graph.items()
                if name not in gone
            }


def _circle(graph: Mapping[str, list[str]]) -> list[str]:
    """One circle, each depending on the next, the alphabetically first name first; or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names: list[str] = error.args[1][:0:-1]
        start = names.index(min(names))
        return names[start:] + names[:start]
    return []


def _one(
    item: LoadedObject, path: Path, name: str, specs: SpecSet, kind: str
) -> Iterator[SpecProblem]:
    if ObjectRef(kind, name) in specs.objects:
        return
    known = [ref.name for ref in specs.objects if ref.kind == kind]
    yield item.problem(path, f"there is no {kind} {name!r}{suggestion(name, known)}", "E0201")


def _each(
    item: LoadedObject, path: Path, names: tuple[str, ...], specs: SpecSet, kind: str
) -> Iterator[SpecProblem]:
    for number, name in enumerate(names):
        yield from _one(item, (*path, number), name, specs, kind)


def _dependencies(
    item: LoadedObject, group: str, names: tuple[str, ...], specs: SpecSet
) -> Iterator[SpecProblem]:
    for number, name in enumerate(names):
        path: Path = ("spec", "dependsOn", number)
        other = specs.resources.get(name)
        if other is None:
            yield from _one(item, path, name, specs, "Resource")
        elif other.spec.group != group:
            message = f"{name!r} is in group {other.spec.group!r}, not in {group!r}"
            yield item.problem(path, message, "E0203")
