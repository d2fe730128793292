"""Catalogue, sources and page agree: no event without an entry, no entry without an event."""

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.events import CATALOGUE, Severity, severity_of
from reconciler.events.__main__ import PAGE, page

ROOT = Path(__file__).parents[1]
PACKAGES = ("specs", "reconciler", "clusterctl")


@dataclass(frozen=True)
class Emission:
    """One call that emits: the names it can have, and the fields that it gives by keyword."""

    where: str
    names: frozenset[str]
    fields: frozenset[str]


def emissions_of(path: Path) -> Iterator[Emission]:
    """Every `….emit(NAME, …)`, `self._emit(NAME, …)` and `Reason.of(NAME, …)` of a file.

    What passes a name on (a function called emit or _emit, the loop over stored reasons) emits
    nothing of its own; the fields it adds belong to every call of it in the same file.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    added: set[str] = set()
    found: list[tuple[Emission, bool]] = []
    for function, call in _calls(tree):
        assert call.args, f"{path}:{call.lineno}: an event without a name"
        fields = {keyword.arg for keyword in call.keywords if keyword.arg}
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        if function.name in ("emit", "_emit"):
            added |= fields
            continue
        if ast.unparse(call.args[0]) == "reason.name":
            continue
        names = frozenset(_values(call.args[0], function))
        wrapped = isinstance(call.func, ast.Attribute) and call.func.attr == "_emit"
        found.append((Emission(where, names, frozenset(fields)), wrapped))
    for emission, wrapped in found:
        more = added if wrapped else set()
        yield Emission(emission.where, emission.names, emission.fields | more)


def _calls(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.Call]]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                emits = node.func.attr in ("emit", "_emit")
                if emits or ast.unparse(node.func) == "Reason.of":
                    yield function, node


def _values(node: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """All texts that the expression can be: literals, choices and f-strings of them."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp():
            return _values(node.body, function) + _values(node.orelse, function)
        case ast.JoinedStr():
            parts = [_values(part, function) for part in node.values]
            return ["".join(chosen) for chosen in itertools.product(*parts)]
        case ast.FormattedValue():
            return _values(node.value, function)
        case ast.Name():
            values = [
                assigned.value
                for assigned in ast.walk(function)
                if isinstance(assigned, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == node.id for t in assigned.targets)
            ]
            found = [text for value in values for text in _values(value, function)]
            assert found, f"line {node.lineno}: where does the event name {node.id} come from?"
            return found
    raise AssertionError(
        f"line {node.lineno}: an event name that cannot be read: {ast.unparse(node)}"
    )


@pytest.fixture(scope="module")
def emissions() -> list[Emission]:
    files = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
    return [emission for path in files for emission in emissions_of(path)]


def test_every_emitted_name_is_in_the_catalogue(emissions: list[Emission]) -> None:
    unknown = {n: e.where for e in emissions for n in e.names if n not in CATALOGUE}
    assert unknown == {}


def test_every_entry_is_emitted_somewhere(emissions: list[Emission]) -> None:
    emitted = {name for emission in emissions for name in emission.names}
    assert sorted(set(CATALOGUE) - emitted) == []


def test_events_carry_the_fields_of_their_entry(emissions: list[Emission]) -> None:
    given: dict[str, set[str]] = {}
    for emission in emissions:
        for name in emission.names:
            given.setdefault(name, set()).update(emission.fields)
    wanted = {name: set(entry.fields) for name, entry in CATALOGUE.items()}
    assert given == wanted


def test_names_and_fields_are_snake_case() -> None:
    snake = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
    for entry in CATALOGUE.values():
        for word in (entry.name, *entry.fields):
            assert snake.fullmatch(word), word


def test_whatever_is_not_as_it_should_be_says_what_to_do() -> None:
    bad = [e for e in CATALOGUE.values() if e.severity is not Severity.INFO]
    assert [entry.name for entry in bad if not entry.advice] == []


def test_sentences_end_and_fit_into_a_table() -> None:
    for entry in CATALOGUE.values():
        assert entry.meaning.endswith("."), entry.name
        assert "|" not in entry.meaning + entry.advice, entry.name


def test_a_name_of_a_newer_version_is_not_hidden() -> None:
    assert severity_of("invented_later") is Severity.WARNING


def test_the_page_is_fresh() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "run python -m reconciler.events"
