"""A loaded set of objects: what the checks, the differ, the store and the loops work on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal, Self, TypeVar, cast

from specs.cluster import Cluster
from specs.document import Document
from specs.errors import Severity, SpecProblem
from specs.fields import path_text
from specs.group import Group
from specs.monitor import Monitor
from specs.resource import Resource
from specs.server import Server
from specs.server_group import ServerGroup
from specs.yaml_text import Path, Positions

KINDS: dict[str, type[Document]] = {
    model.KIND: model for model in (Cluster, Server, ServerGroup, Group, Resource, Monitor)
}

D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Kind and name; str is `Kind/name`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `Kind/name`. Raises ValueError when there is no slash."""
        kind, slash, name = text.partition("/")
        if not slash:
            raise ValueError(f"{text!r} is not Kind/name")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class LoadedObject:
    """One object: its validated model, its text exactly as written, and where that stands.

    `files` are the contents of the files that the text names, by the name written there."""

    ref: ObjectRef
    model: Document
    text: str
    source: str
    line: int
    positions: Positions = field(repr=False, compare=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    def problem(
        self,
        path: Path,
        message: str,
        code: str,
        *,
        at: Literal["key", "value"] = "value",
    ) -> SpecProblem:
        """A problem at this object's field; codes that begin with W are warnings."""
        line, column = (self.positions.key if at == "key" else self.positions.value)(path)
        severity = Severity.WARNING if code.startswith("W") else Severity.ERROR
        return SpecProblem(self.source, line, column, path_text(path), message, code, severity)


@dataclass(frozen=True)
class SpecSet:
    """All objects, in order of kind and name. Frozen; build a new one to change it."""

    objects: Mapping[ObjectRef, LoadedObject]

    @classmethod
    def of(cls, loaded: Iterable[LoadedObject]) -> Self:
        ordered = sorted(loaded, key=lambda item: item.ref)
        return cls(MappingProxyType({item.ref: item for item in ordered}))

    def merged(self, newer: "SpecSet", remove: Iterable[ObjectRef] = ()) -> "SpecSet":
        """This set with the newer objects in place of the old ones, and without `remove`."""
        gone = set(remove)
        both = {**self.objects, **newer.objects}
        return SpecSet.of(item for ref, item in both.items() if ref not in gone)

    def _named(self, kind: type[D]) -> Mapping[str, D]:
        found = {
            ref.name: cast(D, item.model)
            for ref, item in self.objects.items()
            if ref.kind == kind.KIND
        }
        return MappingProxyType(found)

    @cached_property
    def cluster(self) -> Cluster | None:
        """The Cluster; None unless there is exactly one (the checks insist on it)."""
        found = list(self._named(Cluster).values())
        return found[0] if len(found) == 1 else None

    @cached_property
    def servers(self) -> Mapping[str, Server]:
        return self._named(Server)

    @cached_property
    def server_groups(self) -> Mapping[str, ServerGroup]:
        return self._named(ServerGroup)

    @cached_property
    def groups(self) -> Mapping[str, Group]:
        return self._named(Group)

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        return self._named(Resource)

    @cached_property
    def monitors(self) -> Mapping[str, Monitor]:
        return self._named(Monitor)

    @cached_property
    def _resources_by_group(self) -> Mapping[str, tuple[Resource, ...]]:
        found: dict[str, list[Resource]] = {}
        for resource in self.resources.values():
            found.setdefault(resource.spec.group, []).append(resource)
        return {group: tuple(resources) for group, resources in found.items()}

    def resources_of(self, group: str) -> tuple[Resource, ...]:
        """The group's resources by name; empty when it has none."""
        return self._resources_by_group.get(group, ())

    def eligible_servers(self, group: str) -> tuple[str, ...]:
        """Servers that may run the group, the preferred ones first.

        Raises KeyError for an unknown group. Names without a Server are left out.
        """
        spec = self.groups[group].spec
        if spec.servers is not None:
            wanted: Iterable[str] = spec.servers
        elif spec.server_groups is not None:
            known = (self.server_groups.get(name) for name in spec.server_groups)
            wanted = [name for found in known if found for name in found.spec.servers]
        else:
            wanted = self.servers
        return tuple(name for name in dict.fromkeys(wanted) if name in self.servers)
