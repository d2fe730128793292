"""JSON Schema and field documentation, both from the models; `clusterctl schema` and `explain`.

Topics are written as users think of them: `group`, `ServerGroup`, `resource/floating-ip`,
`fence/ipmi`.
"""

import json
import textwrap
from collections.abc import Callable, Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, PlainSerializer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from specs.catalogue import TypeCatalogue, TypeFamily, canonical_name, model_for
from specs.document import Document
from specs.errors import SpecProblem, UnknownTopic, suggestion
from specs.fields import extra_of, fields_of, models_at, models_in
from specs.load import document_of
from specs.spec_set import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FAMILIES: dict[str, TypeFamily] = {"resource": "resource", "monitor": "monitor", "fence": "fence"}
_OPEN_KINDS: dict[str, TypeFamily] = {"Resource": "resource", "Monitor": "monitor"}
_WIDTH = 88


def topics(types: TypeCatalogue) -> tuple[str, ...]:
    """Everything that `json_schema` and `explain` know."""
    of_types = (
        f"{family}/{name}" for family in _FAMILIES for name in types.names(_FAMILIES[family])
    )
    return (*KINDS, *of_types)


def json_schema(topic: str, types: TypeCatalogue) -> dict[str, Any]:
    """JSON Schema (2020-12) of a kind, a resource type or a fence type.

    Raises UnknownTopic with the nearest topic.
    """
    model, name = _model_of(topic, types)
    if name in _OPEN_KINDS:
        model = _with_any_type(name, types)
    schema = {"$schema": DIALECT, **model.model_json_schema(by_alias=True), "title": name}
    if issubclass(model, Document):
        # They have defaults for code that builds objects; in text they are always written.
        schema["required"] = ["apiVersion", "kind", *schema.get("required", ())]
    return schema


def _with_any_type(kind: str, types: TypeCatalogue) -> type[Document]:
    """The kind with a spec of any installed type."""
    family = _OPEN_KINDS[kind]
    models = [model_for(types, family, name) for name in types.names(family)]
    installed = [model for model in models if model is not None]
    return document_of(kind, reduce(or_, installed)) if installed else KINDS[kind]


def explain(path: str, types: TypeCatalogue) -> str:
    """Documentation of a topic or of a field below it: `group.spec.failover.maxFailures`.

    `spec` may be left out. Raises UnknownTopic with the nearest name.
    """
    topic, _, below = path.strip().partition(".")
    model, name = _model_of(topic, types)
    keys = [key for key in below.split(".") if key]
    if keys and keys[0] not in fields_of(model) and "spec" in fields_of(model):
        keys.insert(0, "spec")
    return _explained(model, name, keys, types)


def _model_of(topic: str, types: TypeCatalogue) -> tuple[type[BaseModel], str]:
    family, slash, type_name = topic.partition("/")
    if slash and family.lower() in _FAMILIES:
        found = model_for(types, _FAMILIES[family.lower()], type_name)
        if found is not None:
            name = f"{family.lower()}/{canonical_name(found, type_name)}"
            kind = family.capitalize()
            return (document_of(kind, found) if kind in KINDS else found), name
    wanted = topic.lower().replace("-", "").replace("_", "")
    for kind, model in KINDS.items():
        if wanted in (kind.lower(), f"{kind.lower()}s"):
            return model, kind
    raise _unknown(topic, topic, "topic", topics(types))


def _unknown(shown: str, word: str, what: str, known: tuple[str, ...]) -> UnknownTopic:
    near = suggestion(word, known)
    return UnknownTopic(SpecProblem(shown, 0, 0, "", f"unknown {what}{near}", "E0110"))


def _explained(model: type[BaseModel], name: str, keys: list[str], types: TypeCatalogue) -> str:
    here: list[type[BaseModel]] = [model]
    info: FieldInfo | None = None
    for number, key in enumerate(keys):
        known = {name: field for found in here for name, field in fields_of(found).items()}
        match = next((name for name in known if name.lower() == key.lower()), None)
        if match is None:
            shown = ".".join((name, *keys[: number + 1]))
            raise _unknown(shown, key, "field", tuple(known))
        keys[number], info = match, known[match]
        here = _below(info)
    lines = [".".join((name, *keys))]
    if info is not None:
        lines += ["", *_wrapped(info.description or ""), "", *_facts(info)]
    else:
        specs = models_at(model, ("spec",))
        described = specs[0] if "/" in name and specs else model
        lines += ["", *_wrapped((described.__doc__ or "").partition("\n\n")[0])]
        here += specs
    for found in here:
        label = "Fields of spec:" if info is None and found is not model else "Fields:"
        lines += ["", label, *(_row(key, field) for key, field in fields_of(found).items())]
    lines += _types_hint(name, keys, types)
    return "\n".join(lines) + "\n"


def _below(info: FieldInfo) -> list[type[BaseModel]]:
    """Models of the field's value, or of its entries."""
    direct = list(models_in(info.annotation))
    if direct:
        return direct
    holder = type("_Holder", (BaseModel,), {"__annotations__": {"held": info.annotation}})
    return models_at(holder, ("held", 0))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH)


def _facts(info: FieldInfo) -> list[str]:
    extra = extra_of(info)
    rows = [("type", type_text(info)), ("required", "yes" if _required(info) else "no")]
    if not _required(info):
        rows.append(("default", default_text(info)))
    if limits := _limits(info):
        rows.append(("range", limits))
    rows.append(("impact", _IMPACT_WORDS[str(extra.get("impact", "server"))]))
    if "example" in extra:
        rows.append(("example", _written(extra["example"])))
    return [f"  {label:<9} {text}" for label, text in rows]


_IMPACT_WORDS = {
    "none": "none (a change disturbs nothing)",
    "monitor": "monitor (a change restarts the monitor)",
    "resource": "resource (a change restarts the resource)",
    "group": "group (a change may move or restart the group)",
    "server": "server (a change needs the server's agent to rejoin)",
}


def _required(info: FieldInfo) -> bool:
    """A field with one possible value, such as `kind`, is always written in text."""
    only = get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1
    return info.is_required() or only


def _row(key: str, info: FieldInfo) -> str:
    required = ", required" if _required(info) else ""
    first = (info.description or "").split(". ")[0].rstrip(".")
    return "\n".join(
        textwrap.wrap(
            f"  {key} <{type_text(info)}{required}> {first}.", _WIDTH, subsequent_indent="      "
        )
    )


def _types_hint(name: str, keys: list[str], types: TypeCatalogue) -> list[str]:
    """Where the fields of the types are explained."""
    family = _OPEN_KINDS.get(name)
    if name == "Server" and keys[-1:] == ["levels"]:
        family = "fence"
    if family is None or keys[:1] not in ([], ["spec"]):
        return []
    names = types.names(family)
    if not names:
        return ["", f"No {family} types are installed."]
    return ["", "More fields by type:", *(f"  explain {family}/{one}" for one in names)]


def default_text(info: FieldInfo) -> str:
    """The default as it would be written, or the words that stand for it."""
    said = extra_of(info).get("default_text")
    if said is not None:
        return str(said)
    if info.default_factory is not None:
        return "empty" if info.default_factory in (dict, list, tuple) else "its fields' defaults"
    if info.default is None or info.default is PydanticUndefined:
        return "none"
    return _written(_as_written(info, info.default))


def _annotations(annotation: Any) -> Iterator[Any]:
    """Everything that `Annotated` attaches, outermost first."""
    if get_origin(annotation) is Annotated:
        inner, *attached = get_args(annotation)
        yield from reversed(attached)
        yield from _annotations(inner)
    elif get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _annotations(argument)


def _attached(info: FieldInfo) -> Iterator[Any]:
    """The same of a field; what sits inside a nested `Field()` too."""
    for item in (*info.metadata, *_annotations(info.annotation)):
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)


def _as_written(info: FieldInfo, value: Any) -> Any:
    """Durations and sizes have another form in text; the field's own serialiser knows it."""
    for item in _attached(info):
        if isinstance(item, PlainSerializer):
            form = cast(Callable[[Any], Any], item.func)
            return form(value)
    return value


def _limits(info: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(
        f"{word} {_written(_as_written(info, value))}"
        for name, word in words.items()
        for item in _attached(info)
        if (value := getattr(item, name, None)) is not None
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def type_text(info: FieldInfo) -> str:
    """A type in a user's words: `duration (such as 30s)`, `list of name`, `auto | manual`."""
    return _type_text(info.annotation, tuple(info.metadata))


_FORMATS = {
    "duration": "duration (such as 30s)",
    "byte-size": "size (such as 4MiB)",
    "name": "name",
    "address": "IP address",
    "cidr": "network (address/prefix)",
    "address-with-prefix": "IP address/prefix",
}
_PLAIN: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true | false",
    Path: "file name",
}


def _type_text(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _type_text(inner, (*more, *metadata))
    for item in metadata:
        formatted = getattr(item, "json_schema", None)
        if isinstance(formatted, dict) and formatted.get("format") in _FORMATS:
            return _FORMATS[formatted["format"]]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(word) for word in arguments)
    if origin in (tuple, list):
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_text(arguments[0])} to {_type_text(arguments[1])}"
    if arguments:
        return " | ".join(_type_text(one) for one in arguments if one is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _PLAIN.get(annotation, "any" if annotation is Any else str(annotation.__name__))
