"""YAML 1.2 text to plain data that remembers its places; used by the loader only.

Works on ruamel's events instead of its constructors: that is several times faster, keeps every
position, and leaves nothing to expand, recurse or execute. Comments survive because the exact text
of each document is kept beside its data.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

Path = tuple[str | int, ...]

MAX_DEPTH = 32
# Far above any object, and low enough that a hostile text is refused within seconds.
MAX_DOCUMENT_CHARACTERS = 2**18
MAX_DOCUMENT_VALUES = 20_000
MAX_EXPANDED_CHARACTERS = 1_000_000
MAX_DOCUMENT_PROBLEMS = 100

_MARKER = re.compile(r"^(---|\.\.\.)(?=[ \t\r\n]|$)")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.I)
_WORDS: dict[str, bool | None] = {
    word: value
    for words, value in (("true True TRUE", True), ("false False FALSE", False))
    for word in words.split()
} | dict.fromkeys(("", "~", "null", "Null", "NULL"))
# What ruamel's scanner and parser are known to leak on hostile text besides their own errors.
_LEAKED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, AssertionError)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in the text itself; line and column count from 1 within the file."""

    line: int
    column: int
    path: Path
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Positions:
    """Line and column, from 1 and within the file, of every key and value of one document.

    A path without a place of its own (an absent key, the inside of an alias) has the place of the
    nearest key above it.
    """

    places: dict[Path, tuple[int, int, int, int]]

    def key(self, path: Path) -> tuple[int, int]:
        line, column, _, _ = self._nearest(path)
        return line, column

    def value(self, path: Path) -> tuple[int, int]:
        place = self.places.get(path)
        return place[2:] if place else self.key(path)

    def _nearest(self, path: Path) -> tuple[int, int, int, int]:
        for length in range(len(path), -1, -1):
            if place := self.places.get(path[:length]):
                return place
        return (1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Text:
    """One document as written, and the line of the file (from 1) that it begins on."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """`data` is None when the document is empty or could not be read at all."""

    data: Any
    positions: Positions
    faults: tuple[Fault, ...]


def split(text: str) -> Iterator[Text]:
    """Documents that hold more than comments, each with its own comments.

    Cutting by lines is exact: YAML allows `---` and `...` at the beginning of a line nowhere else.
    """
    lines: list[str] = []
    first, filled = 1, False
    for number, line in enumerate(_lines(text), 1):
        marker = _MARKER.match(line)
        if marker and filled:
            yield Text("".join(lines), first)
            lines, first, filled = [], number, False
        if marker and not line[3:].strip() and not lines:
            first = number + 1
            continue
        if not lines:
            first = number
        lines.append(line)
        words = (line[3:] if marker else line).strip()
        filled = filled or not (words == "" or words.startswith("#"))
    if filled:
        yield Text("".join(lines), first)


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def parse(document: Text) -> Parsed:
    """Plain data (str keys only) with its places; every fault is listed, none is raised."""
    builder = _Builder(document.line - 1)
    if len(document.text) > MAX_DOCUMENT_CHARACTERS:
        builder.fault(0, 0, (), f"longer than {MAX_DOCUMENT_CHARACTERS} characters", "E0002")
    elif found := _UNPRINTABLE.search(document.text):
        before = document.text[: found.start()]
        builder.fault(
            before.count("\n"),
            len(before) - before.rfind("\n") - 1,
            (),
            f"unprintable character U+{ord(found[0]):04X}; is this a binary file?",
            "E0003",
        )
    elif document.text.startswith("%") or "\n%" in document.text[: document.text.find("\n---") + 1]:
        builder.fault(0, 0, (), "YAML directives (%) are not supported: this is YAML 1.2", "E0008")
    else:
        _feed(builder, document.text)
    return Parsed(builder.root, Positions(builder.places), tuple(builder.faults))


def _feed(builder: "_Builder", text: str) -> None:
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
            if builder.stopped:
                break
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(str(part) for part in (error.problem, error.context) if part)
        builder.fault(
            mark.line if mark else 0,
            mark.column if mark else 0,
            (),
            f"not YAML: {message}",
            "E0004",
        )
        builder.root = None
    except (YAMLError, RecursionError, *_LEAKED):
        line, column = builder.last
        builder.fault(line, column, (), "not YAML: cannot be read from here on", "E0004")
        builder.root = None


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence that is still open."""

    data: dict[str, Any] | list[Any]
    path: Path
    anchor: str | None
    mark: tuple[int, int]
    key: str | None = None
    key_mark: tuple[int, int] = (0, 0)
    weight: int = 1
    depth: int = 1


@dataclass(slots=True)
class _Builder:
    line_offset: int
    root: Any = None
    places: dict[Path, tuple[int, int, int, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    frames: list[_Frame] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int, int]] = field(default_factory=dict)
    expanded: int = 0
    stopped: bool = False
    last: tuple[int, int] = (0, 0)

    def fault(self, line: int, column: int, path: Path, message: str, code: str) -> None:
        self.faults.append(Fault(line + 1 + self.line_offset, column + 1, path, message, code))
        self.stopped = self.stopped or len(self.faults) >= MAX_DOCUMENT_PROBLEMS

    def stop(self, message: str, code: str) -> None:
        """A fault after which nothing of the document is worth reading."""
        self.fault(*self.last, self.path(), message, code)
        self.root, self.stopped = None, True

    def path(self) -> Path:
        """Where the next value goes."""
        if not self.frames:
            return ()
        frame = self.frames[-1]
        if isinstance(frame.data, list):
            return (*frame.path, len(frame.data))
        return frame.path if frame.key is None else (*frame.path, frame.key)

    def take(self, event: Event) -> None:
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            frame = self.frames.pop()
            self.put(frame.data, frame.mark, frame.weight, frame.anchor, frame.depth)
            return
        if not isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent | AliasEvent):
            return
        self.last = mark = (event.start_mark.line, event.start_mark.column)
        if isinstance(event, AliasEvent):
            self.alias(event.anchor, mark)
            return
        if event.tag is not None:
            self.fault(*mark, self.path(), "tags (!) are not supported", "E0008")
        if isinstance(event, ScalarEvent):
            plain = event.style is None
            self.scalar(event.value, plain, mark, event.anchor)
            return
        if self.expects_key():
            self.stop("a key must be a plain text, not a list or mapping", "E0008")
        elif len(self.frames) >= MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels", "E0006")
        else:
            data: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
            self.frames.append(_Frame(data, self.path(), event.anchor, mark))

    def expects_key(self) -> bool:
        if not self.frames:
            return False
        frame = self.frames[-1]
        return isinstance(frame.data, dict) and frame.key is None

    def alias(self, anchor: str, mark: tuple[int, int]) -> None:
        if anchor not in self.anchors:
            self.stop(f"alias *{anchor[:40]} refers to nothing that ends before it", "E0007")
            return
        if self.expects_key():
            self.stop("a key cannot be an alias", "E0008")
            return
        data, weight, depth = self.anchors[anchor]
        self.expanded += weight
        if len(self.frames) + depth > MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels", "E0006")
            return
        if self.expanded > MAX_EXPANDED_CHARACTERS:
            self.stop("aliases expand to too much", "E0007")
            return
        self.put(data, mark, weight, None, depth)

    def scalar(self, text: str, plain: bool, mark: tuple[int, int], anchor: str | None) -> None:
        if not self.expects_key():
            self.put(self.resolve(text, plain, mark), mark, len(text) + 1, anchor)
            return
        frame = self.frames[-1]
        if plain and not isinstance(self.resolve(text, plain, mark), str):
            self.fault(*mark, frame.path, f"key {text[:40]!r} must be quoted to be a text", "E0008")
        elif plain and text == "<<":
            self.fault(*mark, frame.path, "merge keys (<<) are not supported", "E0008")
        elif _UNPRINTABLE.search(text):
            self.fault(*mark, frame.path, "unprintable character in a key", "E0008")
            text = _UNPRINTABLE.sub("?", text)
        frame.key, frame.key_mark = text, mark
        frame.weight += len(text) + 1

    def resolve(self, text: str, plain: bool, mark: tuple[int, int]) -> Any:
        """The core schema of YAML 1.2: `on`, `12:30` and 2026-01-01 are text."""
        if not plain:
            if _UNPRINTABLE.search(text):
                self.fault(*mark, self.path(), "unprintable character in a text", "E0008")
                return _UNPRINTABLE.sub("?", text)
            return text
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > 40:
            return text
        if _INTEGER.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text, base)
        if _FLOAT.fullmatch(text):
            number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if not math.isfinite(number):
                self.fault(*mark, self.path(), f"{text} is not a finite number", "E0008")
                return 0.0
            return number
        return text

    def put(
        self, data: Any, mark: tuple[int, int], weight: int, anchor: str | None, depth: int = 0
    ) -> None:
        """Set a finished value in its parent. `depth` counts the levels inside it."""
        path = self.path()
        if len(self.places) > MAX_DOCUMENT_VALUES:
            self.stop(f"more than {MAX_DOCUMENT_VALUES} values in one document", "E0002")
            return
        line, column = mark[0] + 1 + self.line_offset, mark[1] + 1
        if anchor is not None:
            self.anchors[anchor] = (data, weight, depth)
        if not self.frames:
            self.root = data
            self.places[path] = (line, column, line, column)
            return
        frame = self.frames[-1]
        frame.weight += weight
        frame.depth = max(frame.depth, depth + 1)
        if isinstance(frame.data, list):
            self.places[path] = (line, column, line, column)
            frame.data.append(data)
            return
        key, frame.key = str(frame.key), None
        key_line, key_column = frame.key_mark[0] + 1 + self.line_offset, frame.key_mark[1] + 1
        if key in frame.data:
            message = f"given twice, first on line {self.places[path][0]}"
            self.fault(*frame.key_mark, path, message, "E0005")
            return
        if data is None and mark[0] != frame.key_mark[0]:
            # An absent value: the parser has it where the next thing begins.
            line, column = key_line, key_column
        self.places[path] = (key_line, key_column, line, column)
        frame.data[key] = data
