"""Which model field a path of a document belongs to.

Used for near misses (loader), impact classes (diff) and documentation (schema).
"""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specs.scalars import IMPACTS, Impact
from specs.yaml_text import Path


def key_of(name: str, info: FieldInfo) -> str:
    """The field's key as a user writes it."""
    return info.alias or name


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the key that a user writes, in reading order."""
    return {key_of(name, info): info for name, info in model.model_fields.items()}


def _arguments(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return get_args(annotation)[:1]
    if origin in (Union, types.UnionType):
        return get_args(annotation)
    return ()


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a value of this annotation may be, containers left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in _arguments(annotation):
        yield from models_in(argument)


def _items(annotation: Any) -> Iterator[Any]:
    """Annotations of the entries of a list or mapping."""
    origin = get_origin(annotation)
    if origin in (tuple, list, set, frozenset):
        yield from (argument for argument in get_args(annotation)[:1])
    elif isinstance(origin, type) and issubclass(origin, dict):
        yield from get_args(annotation)[1:]
    for argument in _arguments(annotation):
        yield from _items(argument)


def models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """Models that may describe the value at `path` below `model`."""
    annotations: list[Any] = [model]
    for part in path:
        below: list[Any] = []
        for annotation in annotations:
            if isinstance(part, str):
                known = (fields_of(candidate) for candidate in models_in(annotation))
                below.extend(fields[part].annotation for fields in known if part in fields)
            below.extend(_items(annotation))
        annotations = below
    return [found for annotation in annotations for found in models_in(annotation)]


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The field at `path`, or the nearest field above it."""
    for length in range(len(path), 0, -1):
        key = path[length - 1]
        for candidate in models_at(model, path[: length - 1]):
            if isinstance(key, str) and key in (known := fields_of(candidate)):
                return known[key]
    return None


def extra_of(info: FieldInfo | None) -> dict[str, Any]:
    """What `impact()` attached to the field."""
    extra = info.json_schema_extra if info else None
    return cast(dict[str, Any], extra) if isinstance(extra, dict) else {}


def impact_of(model: type[BaseModel], path: Path) -> Impact:
    """What a change at `path` disturbs; `server`, the widest, where nothing is declared."""
    declared = extra_of(field_at(model, path)).get("impact")
    return declared if declared in IMPACTS else "server"


def path_text(path: Path) -> str:
    """`spec.fencing.levels[0].address`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
