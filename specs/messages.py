"""pydantic's errors in a user's words, each at its place; used by the loader only."""

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from specs.errors import SpecProblem, nearest, suggestion
from specs.fields import fields_of, models_at, path_text
from specs.scalars import format_duration, format_size
from specs.yaml_text import Path, Positions

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "path_type": "a file name",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
}


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    *,
    file: str,
    positions: Positions,
    prefix: Path = (),
) -> list[SpecProblem]:
    """One problem for each place. `prefix` is where `data` sits in the document."""
    found: dict[tuple[str, str], SpecProblem] = {}
    for detail in error.errors(include_url=False):
        path, absent = _path_in(detail, data)
        if _follows_from_others(detail, path, data):
            continue
        message, code = _message(detail, model, path)
        whole = (*prefix, *path)
        at_key = code == "E0102" or bool(absent)
        line, column = positions.key(whole) if at_key else positions.value(whole)
        shown = path_text((*whole, *absent))
        found.setdefault((shown, message), SpecProblem(file, line, column, shown, message, code))
    return list(found.values())


def _follows_from_others(detail: ErrorDetails, path: Path, data: Any) -> bool:
    """A long enough list counts as too short for pydantic when its entries are wrong."""
    if detail["type"] != "too_short":
        return False
    here = data
    for part in path:
        here = here[part]
    return len(here) >= int(detail["ctx"]["min_length"])


def _path_in(detail: ErrorDetails, data: Any) -> tuple[Path, Path]:
    """The part of the error's location that exists in the data, and the key that is missing.

    Locations also hold names of union branches and validators, which no user has written.
    """
    path: list[str | int] = []
    here = data
    for part in detail["loc"]:
        if isinstance(here, dict) and part in here:
            here = here[part]
            path.append(str(part))
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            path.append(part)
    absent = detail["loc"][-1:] if detail["type"] == "missing" else ()
    return tuple(path), absent


def _message(detail: ErrorDetails, model: type[BaseModel], path: Path) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), models_at(model, path[:-1])), "E0102"
    if kind == "missing":
        return "required, but missing", "E0103"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {described(detail['input'])}", "E0104"
    if kind in ("literal_error", "enum"):
        return _not_one_of(detail, str(context.get("expected", ""))), "E0105"
    if kind in _BOUNDS:
        name, sentence = _BOUNDS[kind]
        return sentence.format(_bound(context[name], detail["input"])), "E0105"
    if kind == "too_short":
        return f"needs at least {_entries(context['min_length'])}", "E0105"
    if kind == "too_long":
        return f"takes at most {_entries(context['max_length'])}", "E0105"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"])), "E0105"
    if kind == "union_tag_invalid":
        return f"type is not one of: {context.get('expected_tags', '')}", "E0106"
    return detail["msg"][:1].lower() + detail["msg"][1:], "E0105"


def _unknown_key(key: str, models: list[type[BaseModel]]) -> str:
    known = [name for model in models for name in fields_of(model)]
    return f"unknown key{suggestion(key, known, 'known here')}"


def _not_one_of(detail: ErrorDetails, expected: str) -> str:
    words = expected.replace("'", "").replace(" or ", ", ").split(", ")
    value = detail["input"]
    if not isinstance(value, str):
        return f"expected one of {', '.join(words)}, found {described(value)}"
    if len(words) == 1:
        return f"{value[:60]!r} is not {words[0]!r}"
    return f"{value[:60]!r} is not one of: {', '.join(words)}{nearest(value, words)}"


def _bound(limit: Any, value: Any) -> str:
    if isinstance(value, str) and isinstance(limit, float):
        return format_duration(limit)
    if isinstance(value, str) and isinstance(limit, int):
        # A limit of a duration may be written as an int; sizes end in B.
        return format_size(limit) if value.strip().endswith("B") else format_duration(limit)
    return str(limit)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def described(value: Any) -> str:
    """The kind of a value, never the value: it may be a secret in the wrong place."""
    if value is None:
        return "nothing"
    for kind, word in (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "text"),
        (dict, "a mapping"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return word
    return type(value).__name__
