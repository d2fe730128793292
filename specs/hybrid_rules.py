"""Disks that are mirrored between server groups: what they ask of their group."""

from collections.abc import Iterator

from specs.errors import SpecProblem, suggestion
from specs.resource import STANDBY_SUFFIX, Resource
from specs.spec_set import LoadedObject, ObjectRef, SpecSet

CODE = "E0307"
LONGEST_NAME = 63


def check_hybrid_disks(specs: SpecSet) -> Iterator[SpecProblem]:
    """Server groups that do not exist, overlap, or are not those of the group."""
    seen: set[str] = set()
    for name, resource in specs.resources.items():
        if not resource.spec.mirrored_groups():
            continue
        item = specs.objects[ObjectRef("Resource", name)]
        if resource.spec.following(name) is None:
            yield item.problem(("spec", "standbyOf"), "is set by the cluster itself", CODE)
            continue
        yield from _server_groups(specs, item, resource)
        yield from _group(specs, item, resource)
        yield from _name(specs, item, "Resource", name)
        if resource.spec.group not in seen:
            yield from _name(specs, item, "Group", resource.spec.group)
        seen.add(resource.spec.group)


def _server_groups(specs: SpecSet, item: LoadedObject, resource: Resource) -> Iterator[SpecProblem]:
    owner: dict[str, str] = {}
    for number, name in enumerate(resource.spec.mirrored_groups()):
        path = ("spec", "sides", number, "serverGroup")
        found = specs.server_groups.get(name)
        if found is None:
            near = suggestion(name, list(specs.server_groups))
            yield item.problem(path, f"there is no ServerGroup {name!r}{near}", "E0201")
            continue
        both = [server for server in found.spec.servers if server in owner]
        if both:
            message = (
                f"{', '.join(both)} is in server group {owner[both[0]]!r} too; a server has one "
                "side of the mirror"
            )
            yield item.problem(path, message, CODE)
        if len(found.spec.servers) == 1:
            message = (
                f"server group {name!r} has one server: nobody shares its disk, and the mirror "
                "stops there when that server does"
            )
            yield item.problem(path, message, "W0608")
        owner |= dict.fromkeys(found.spec.servers, name)


def _group(specs: SpecSet, item: LoadedObject, resource: Resource) -> Iterator[SpecProblem]:
    """Every server of the group must have a side, and know which."""
    group = specs.groups.get(resource.spec.group)
    wanted = resource.spec.mirrored_groups()
    if group is None or set(group.spec.server_groups or ()) == set(wanted):
        return
    there = specs.objects[ObjectRef("Group", resource.spec.group)]
    where = f" ({there.source}:{there.line})"
    text = f"serverGroups: [{', '.join(wanted)}]"
    message = f"group {resource.spec.group!r}{where} must run on exactly these: give it `{text}`"
    yield item.problem(("spec", "sides"), message, CODE, at="key")


def _name(specs: SpecSet, item: LoadedObject, kind: str, name: str) -> Iterator[SpecProblem]:
    """The side that follows is a group of its own, with a name made of this one."""
    derived = name + STANDBY_SUFFIX
    path = ("spec", "group") if kind == "Group" else ("metadata", "name")
    if len(derived) > LONGEST_NAME:
        longest = LONGEST_NAME - len(STANDBY_SUFFIX)
        yield item.problem(path, f"with a hybrid disk at most {longest} characters", CODE)
    there = specs.objects.get(ObjectRef(kind, derived))
    if there is not None:
        message = f"{derived!r} is the name of the side that follows; it must not be taken"
        yield item.problem(path, f"{message} ({there.source}:{there.line})", CODE)
