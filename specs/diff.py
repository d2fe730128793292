"""What changes from one set to another, field by field, with what each change disturbs.

Compares validated models with their defaults filled in, so layout and comments make no difference.
Used by `clusterctl diff` and `apply`, and by the agent to find what it must act on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from specs.document import Document
from specs.fields import impact_of, path_text
from specs.scalars import IMPACTS, Impact
from specs.spec_set import ObjectRef, SpecSet
from specs.yaml_text import Path

ChangeKind = Literal["added", "removed", "changed"]

_OBJECT_IMPACTS: dict[str, Impact] = {
    "Cluster": "server",
    "Server": "server",
    "ServerGroup": "group",
    "Group": "group",
    "Resource": "resource",
    "Monitor": "monitor",
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """`old` or `new` is None where the field is absent; both as they are written in YAML."""

    path: str
    old: Any
    new: Any
    impact: Impact


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """`fields` is empty for objects that were added or removed as a whole."""

    ref: ObjectRef
    kind: ChangeKind
    fields: tuple[FieldChange, ...] = ()

    @property
    def impact(self) -> Impact:
        """The widest impact of the change."""
        if self.kind != "changed":
            return _OBJECT_IMPACTS.get(self.ref.kind, "server")
        return max((field.impact for field in self.fields), key=IMPACTS.index)


def diff(old: SpecSet | None, new: SpecSet) -> tuple[ObjectChange, ...]:
    """Changes in order of kind and name; empty when the two sets mean the same."""
    before = old.objects if old else {}
    changes: list[ObjectChange] = []
    for ref in sorted({*before, *new.objects}):
        if ref not in before:
            changes.append(ObjectChange(ref, "added"))
        elif ref not in new.objects:
            changes.append(ObjectChange(ref, "removed"))
        elif fields := _fields(before[ref].model, new.objects[ref].model):
            changes.append(ObjectChange(ref, "changed", fields))
    return tuple(changes)


def disturbs(old: Document, new: Document) -> bool:
    """Whether what runs by `old` must be stopped and started to run by `new`."""
    # The documents' own classes say nothing: what an agent remembers is built in another way.
    if type(getattr(old, "spec", None)) is not type(getattr(new, "spec", None)):
        return True
    return any(change.impact != "none" for change in _fields(old, new))


def _fields(old: Document, new: Document) -> tuple[FieldChange, ...]:
    if old == new:
        return ()
    model = type(new)
    return tuple(
        FieldChange(path_text(path), before, after, impact_of(model, path))
        for path, before, after in _differences((), old.to_json(), new.to_json())
    )


def _differences(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, Any, Any]]:
    """Mappings are compared key by key, lists as a whole: their order matters. What only changed or
    was added at the end of a list of named things is compared one by one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences((*path, key), old.get(key), new.get(key))
    elif (names := _names(old)) and names == _names(new)[: len(names)]:
        for number, item in enumerate(new):
            was = old[number] if number < len(old) else None
            yield from _differences((*path, number), was, item)
    elif old != new or type(old) is not type(new):
        yield path, old, new


def _names(value: Any) -> list[str]:
    """Of a list of things that all have a name; else nothing."""
    if isinstance(value, list) and all(isinstance(one, dict) and "name" in one for one in value):
        return [str(one["name"]) for one in value]
    return []
