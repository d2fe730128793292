"""YAML texts to a validated set; every error of the whole set is reported at once, with its place.

Called by `clusterctl`, by the spec repository for stored texts, and by the agent's configuration.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError, create_model

from specs.catalogue import TypeCatalogue, TypeFamily, canonical_name, model_for
from specs.document import API_VERSION, Document
from specs.errors import SpecErrors, SpecProblem, nearest, suggestion
from specs.fields import path_text
from specs.messages import described, problems_of
from specs.monitor import MonitorSpec
from specs.resource import ResourceSpec
from specs.script import Files, loading
from specs.server import Server
from specs.sources import MAX_FILE_BYTES, Source, read_sources
from specs.spec_set import KINDS, LoadedObject, ObjectRef, SpecSet
from specs.yaml_text import Parsed, Path, Text, parse, split

__all__ = [
    "LoadedObject",
    "ObjectRef",
    "Source",
    "SpecSet",
    "TypeCatalogue",
    "load",
    "load_one",
    "read_sources",
]

M = TypeVar("M", bound=BaseModel)
MAX_PROBLEMS = 1000
_FAMILIES: dict[str, TypeFamily] = {"Resource": "resource", "Monitor": "monitor"}


class _AnyResource(ResourceSpec, extra="ignore"):
    """Stands in for a type that is not installed, so that the common fields are still checked."""


class _AnyMonitor(MonitorSpec, extra="ignore"):
    """The same for monitors."""


def load(sources: Sequence[Source], types: TypeCatalogue) -> SpecSet:
    """The set that the sources hold together, in any order and spread over any files.

    Raises SpecErrors with all problems of all sources. Without sources the set is empty; sources
    without any object are an error.
    """
    loaded: dict[ObjectRef, LoadedObject] = {}
    problems: list[SpecProblem] = []
    for source, document in _all_documents(sources, problems):
        item = _load_document(source, document, types, problems)
        if item is None:
            continue
        first = loaded.setdefault(item.ref, item)
        if first is not item:
            message = f"{item.ref} is already in {first.source}:{first.line}"
            problems.append(item.problem(("metadata", "name"), message, "E0107"))
    if sources and not loaded and not problems:
        names = ", ".join(source.name for source in sources[:5])
        problems.append(SpecProblem(names, 0, 0, "", "no object was found", "E0009"))
    if problems:
        order = {source.name: number for number, source in reversed(list(enumerate(sources)))}
        problems.sort(
            key=lambda problem: (order.get(problem.file, 0), problem.line, problem.column)
        )
        raise SpecErrors(*problems)
    return SpecSet.of(loaded.values())


def load_one(source: Source, model: type[M]) -> M:
    """A text with exactly one document, such as a configuration file, as `model`.

    Raises SpecErrors with all problems.
    """
    problems: list[SpecProblem] = []
    documents = list(_documents(source, problems))
    if len(documents) != 1 and not problems:
        message = f"expected one YAML document, found {len(documents)}"
        problems.append(SpecProblem(source.name, 0, 0, "", message, "E0009"))
    value: M | None = None
    for document in documents[:1]:
        parsed = _parse(source.name, document, problems)
        if not problems:
            files = Files(source.read)
            value = _validated(model, parsed.data, source.name, parsed, (), problems, files)
    if value is None or problems:
        raise SpecErrors(*problems)
    return value


def _all_documents(
    sources: Sequence[Source], problems: list[SpecProblem]
) -> Iterator[tuple[Source, Text]]:
    """Ends early where nobody would read on: the wrong file can have a problem on each line."""
    for source in sources:
        for document in _documents(source, problems):
            if len(problems) > MAX_PROBLEMS:
                message = f"more than {MAX_PROBLEMS} problems; the rest was not read"
                problems.append(SpecProblem(source.name, document.line, 1, "", message, "E0010"))
                return
            yield source, document


def _documents(source: Source, problems: list[SpecProblem]) -> Iterator[Text]:
    if len(source.text) > MAX_FILE_BYTES:
        message = f"larger than {MAX_FILE_BYTES // 2**20} MiB"
        problems.append(SpecProblem(source.name, 0, 0, "", message, "E0002"))
        return
    try:
        text = source.text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source.text[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = "not UTF-8 text; is this a binary file?"
        problems.append(SpecProblem(source.name, line, column, "", message, "E0003"))
        return
    yield from split(text)


_CACHED = 8192
# An agent loads the whole set after each apply, and nearly all of its texts are the same as before.
_parse_again = lru_cache(maxsize=4096)(parse)


def _parse(name: str, document: Text, problems: list[SpecProblem]) -> Parsed:
    parsed = _parse_again(document) if len(document.text) <= _CACHED else parse(document)
    problems.extend(
        SpecProblem(name, at.line, at.column, path_text(at.path), at.message, at.code)
        for at in parsed.faults
    )
    return parsed


def _load_document(
    source: Source, document: Text, types: TypeCatalogue, problems: list[SpecProblem]
) -> LoadedObject | None:
    """None when the document has problems; they are added to `problems`."""
    before, name, files = len(problems), source.name, Files(source.read)
    parsed = _parse(name, document, problems)
    if parsed.data is None:
        return None
    kind = _kind(name, parsed, problems)
    if kind is None:
        return None
    data = parsed.data
    model: type[Document] = KINDS[kind]
    if kind in _FAMILIES:
        model, data = _typed(name, kind, parsed, types, problems)
    value = _validated(model, data, name, parsed, (), problems, files)
    levels = _fence_levels(name, parsed, types, problems) if kind == Server.KIND else ()
    if isinstance(value, Server):
        value = _with_levels(value, levels)
    if value is None or len(problems) > before:
        return None
    line, _ = parsed.positions.value(())
    ref = ObjectRef(kind, value.metadata.name)
    return LoadedObject(ref, value, document.text, name, line, parsed.positions, files.texts)


def _problem(name: str, parsed: Parsed, path: Path, message: str, code: str) -> SpecProblem:
    line, column = parsed.positions.value(path)
    return SpecProblem(name, line, column, path_text(path), message, code)


def _kind(name: str, parsed: Parsed, problems: list[SpecProblem]) -> str | None:
    """The document's kind, when apiVersion and kind are known."""
    data = parsed.data
    if not isinstance(data, dict):
        message = f"expected an object with apiVersion, kind and metadata, found {described(data)}"
        problems.append(_problem(name, parsed, (), message, "E0101"))
        return None
    before = len(problems)
    for key, known in (("apiVersion", (API_VERSION,)), ("kind", tuple(KINDS))):
        value = data.get(key)
        if key not in data:
            message = f"required, but missing{nearest(key, data)}"
            problems.append(_problem(name, parsed, (key,), message, "E0103"))
        elif not isinstance(value, str):
            message = f"expected text, found {described(value)}"
            problems.append(_problem(name, parsed, (key,), message, "E0104"))
        elif value not in known:
            message = f"unknown {key} {value[:60]!r}{suggestion(value, known)}"
            problems.append(_problem(name, parsed, (key,), message, "E0101"))
    return str(data["kind"]) if len(problems) == before else None


def _validated(
    model: type[M],
    data: Any,
    name: str,
    parsed: Parsed,
    prefix: Path,
    problems: list[SpecProblem],
    files: Files,
) -> M | None:
    try:
        # Strict JSON: a list is a tuple and text is an enum, but "4" is no number and 1 no truth.
        return model.model_validate_json(json.dumps(data), strict=True, context=loading(files))
    except ValidationError as error:
        problems.extend(
            problems_of(error, model, data, file=name, positions=parsed.positions, prefix=prefix)
        )
        return None


def _find_type(
    family: TypeFamily,
    given: Any,
    types: TypeCatalogue,
) -> tuple[type[BaseModel] | None, str]:
    """The type's model, or None and why not ("" when the model itself will say it)."""
    if not isinstance(given, str):
        return None, ""
    model = model_for(types, family, given)
    if model is not None:
        return model, ""
    names = types.names(family)
    if not names:
        return None, f"unknown type {given[:60]!r}: no {family} types are installed"
    near = suggestion(given, names, "installed")
    return None, f"unknown {family} type {given[:60]!r}{near}"


@lru_cache(maxsize=256)
def document_of(kind: str, spec: Any) -> type[Document]:
    """Resource or Monitor whose spec is one type's model, or a union of such models."""
    base = KINDS[kind]
    common = base.model_fields["spec"]
    extra = common.json_schema_extra
    field: Any = (spec, Field(description=common.description, json_schema_extra=extra))
    return cast(type[Document], create_model(kind, __base__=base, __doc__=base.__doc__, spec=field))


def _typed(
    name: str, kind: str, parsed: Parsed, types: TypeCatalogue, problems: list[SpecProblem]
) -> tuple[type[Document], dict[str, Any]]:
    """The model of the document's type, and the data with the type's canonical name."""
    fallback = _AnyResource if kind == "Resource" else _AnyMonitor
    data = cast(dict[str, Any], parsed.data)
    spec = data.get("spec")
    given = spec.get("type") if isinstance(spec, dict) else None
    found, reason = _find_type(_FAMILIES[kind], given, types)
    if reason:
        problems.append(_problem(name, parsed, ("spec", "type"), reason, "E0106"))
    if found is None or not isinstance(spec, dict):
        return document_of(kind, fallback), data
    # A copy: an alias in the text may share the mapping with other places.
    named = {**spec, "type": canonical_name(found, str(given))}
    return document_of(kind, found), {**data, "spec": named}


def _fence_levels(
    name: str, parsed: Parsed, types: TypeCatalogue, problems: list[SpecProblem]
) -> tuple[dict[str, Any], ...]:
    """A Server's fence levels, each validated by its type, defaults filled in.

    Works on the raw data, so that faults elsewhere in the document hide nothing here.
    """
    here: Any = parsed.data
    for key in ("spec", "fencing", "levels"):
        here = here.get(key) if isinstance(here, dict) else None
    levels: list[dict[str, Any]] = []
    for number, level in enumerate(here if isinstance(here, list) else ()):
        if not isinstance(level, dict):
            continue  # the Server's own model says so
        path: Path = ("spec", "fencing", "levels", number)
        given = level.get("type")
        model, reason = _find_type("fence", given, types)
        if model is None:
            installed = f"installed: {', '.join(types.names('fence')) or 'none'}"
            message = reason or f"expected a type as text, found {described(given)}; {installed}"
            problems.append(_problem(name, parsed, (*path, "type"), message, "E0106"))
            continue
        named = {**level, "type": canonical_name(model, str(given))}
        value = _validated(model, named, name, parsed, path, problems, Files(None))
        if value is not None:
            levels.append(value.model_dump(mode="json", by_alias=True, exclude_none=True))
    return tuple(levels)


def _with_levels(server: Server, levels: tuple[dict[str, Any], ...]) -> Server:
    if server.spec.fencing is None:
        return server
    fencing = server.spec.fencing.model_copy(update={"levels": levels})
    return server.model_copy(update={"spec": server.spec.model_copy(update={"fencing": fencing})})
