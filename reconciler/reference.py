"""Writes docs/reference/ from the models: `python -m reconciler.reference [--check]`.

One page for each kind and each type, from the same source as `clusterctl explain`. With `--check`
nothing is written, and the exit code is 1 when a page is not what the models say.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from reconciler.plugin import Registry
from specs.catalogue import TypeFamily, model_for
from specs.document import Document, Metadata
from specs.fields import fields_of, models_at, models_in
from specs.monitor import MonitorSpec
from specs.resource import ResourceSpec
from specs.schema import explain, topics
from specs.spec_set import KINDS

DIRECTORY = Path("docs/reference")
COMMAND = "python -m reconciler.reference"
_HEADER = "| Field | Type | Default | A change disturbs | Meaning |\n|---|---|---|---|---|\n"
_FAMILIES: dict[str, TypeFamily] = {"resource": "resource", "monitor": "monitor", "fence": "fence"}
_COMMON: dict[str, type[BaseModel]] = {"resource": ResourceSpec, "monitor": MonitorSpec}


def pages(types: Registry) -> dict[str, str]:
    """Every page by its file name."""
    names = topics(types)
    made = {file_name(topic): page(topic, types) for topic in names}
    return {"README.md": index(names, types), **made}


def file_name(topic: str) -> str:
    """`resource-floating-ip.md` of `resource/floating-ip`, `servergroup.md` of `ServerGroup`."""
    return topic.lower().replace("/", "-") + ".md"


def index(names: tuple[str, ...], types: Registry) -> str:
    """The list of pages, and the fields that every object has."""
    rows = [f"- [{topic}]({file_name(topic)}): {_summary(topic, types)}" for topic in names]
    metadata = "".join(
        row
        for key in fields_of(Metadata)
        for row in _rows("cluster", f"metadata.{key}", Metadata, key, types, f"metadata.{key}")
    )
    return (
        f"# Reference\n\nWritten by `{COMMAND}` from the models; "
        "`clusterctl explain KIND[.FIELD]` prints the same.\n\n"
        + "\n".join(rows)
        + "\n\n## Every object\n\nBegins with `apiVersion: clusterctl/v1` and `kind`, and has:\n\n"
        + _HEADER
        + metadata
    )


def page(topic: str, types: Registry) -> str:
    """One kind or type: what it is, its example, its fields."""
    model = _model(topic, types)
    family = topic.partition("/")[0]
    base = _COMMON.get(family)
    common = set(fields_of(base)) - {"type"} if base is not None else set()
    spec = _spec_of(model)
    own = [key for key in fields_of(spec) if key not in common]
    title = "Fields of `spec`" if spec is not model else "Fields"
    text = [f"# {topic}\n\n{inspect.getdoc(model) or ''}\n", _table(title, topic, own, types)]
    if common:
        shared = [key for key in fields_of(spec) if key in common]
        text.append(_table(f"Fields of every {family}", topic, shared, types))
    return "\n".join(text)


def _model(topic: str, types: Registry) -> type[BaseModel]:
    family, slash, name = topic.partition("/")
    model = model_for(types, _FAMILIES[family], name) if slash else KINDS[topic]
    if model is None:
        raise KeyError(topic)
    return model


def _spec_of(model: type[BaseModel]) -> type[BaseModel]:
    return models_at(model, ("spec",))[0] if issubclass(model, Document) else model


def _summary(topic: str, types: Registry) -> str:
    return (inspect.getdoc(_model(topic, types)) or "").partition("\n\n")[0].replace("\n", " ")


def _table(title: str, topic: str, keys: list[str], types: Registry) -> str:
    spec = _spec_of(_model(topic, types))
    prefix = "" if topic.startswith("fence/") else "spec."
    rows = [row for key in keys for row in _rows(topic, f"{prefix}{key}", spec, key, types, key)]
    return f"## {title}\n\n{_HEADER}{''.join(rows)}"


def _rows(
    topic: str, path: str, model: type[BaseModel], key: str, types: Registry, shown: str
) -> Iterator[str]:
    """The field's own row, then those of the models below it."""
    info = fields_of(model)[key]
    facts = _facts(explain(f"{topic}.{path}", types))
    meaning = info.description or ""
    if "range" in facts:
        meaning += f" Range: {facts['range']}."
    if "example" in facts:
        meaning += f" Example: `{facts['example']}`."
    default = "required" if facts.get("required") == "yes" else facts.get("default", "")
    impact = facts.get("impact", "").partition(" ")[0]
    cells = (f"`{shown}`", facts.get("type", ""), default, impact, meaning)
    yield "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"
    direct = list(models_in(info.annotation))
    for below in direct or models_at(model, (key, 0)):
        for name in fields_of(below):
            longer = f"{shown}.{name}" if direct else f"{shown}[].{name}"
            yield from _rows(topic, f"{path}.{name}", below, name, types, longer)


def _facts(text: str) -> dict[str, str]:
    """The indented `label  words` lines of an explanation."""
    block = next((part for part in text.split("\n\n") if part.startswith("  type")), "")
    pairs = (line.strip().partition(" ") for line in block.splitlines())
    return {label: words.strip() for label, _, words in pairs}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def stale(directory: Path, wanted: dict[str, str]) -> list[str]:
    """File names that are missing, different, or of a type that is gone."""
    found = {path.name: path.read_text() for path in directory.glob("*.md")}
    return sorted(
        name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when stale")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    chosen = parser.parse_args(arguments)
    directory: Path = chosen.directory
    wanted = pages(Registry.discover())
    changed = stale(directory, wanted)
    if chosen.check:
        for name in changed:
            sys.stdout.write(f"{directory / name} is stale: run {COMMAND}\n")
        return 1 if changed else 0
    directory.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (directory / name).write_text(wanted[name])
        else:
            (directory / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
