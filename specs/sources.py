"""The texts of a set: files, directories and standard input, read with bounds.

Used by `clusterctl` through `specs.load`.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from specs.errors import SpecErrors, SpecProblem
from specs.script import MAX_SCRIPT_BYTES, ReadFile

MAX_FILE_BYTES = 8 * 2**20
STDIN_NAME = "<stdin>"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Source:
    """One text and the name that problems give it. `read` gives the files that it names."""

    name: str
    text: bytes
    read: ReadFile | None = field(default=None, repr=False, compare=False)


def read_sources(paths: Sequence[str], stdin: BinaryIO | None) -> list[Source]:
    """Reads files, directories (*.yaml and *.yml below them, sorted) and `-` for stdin.

    Raises SpecErrors with every path that cannot be read, is larger than 8 MiB or holds no file.
    """
    sources: list[Source] = []
    problems: list[SpecProblem] = []
    seen: set[str] = set()
    for given in paths:
        try:
            for name in _expanded(given):
                # The same file given twice, or inside a directory that is given too, is one file.
                identity = name if name == "-" else os.path.realpath(name)
                if identity not in seen:
                    seen.add(identity)
                    sources.append(_read(name, stdin))
        except OSError as error:
            name = str(error.filename or given)
            reason = (error.strerror or str(error)).lower()
            problems.append(SpecProblem(name, 0, 0, "", f"cannot be read: {reason}", "E0001"))
        except SpecErrors as error:
            problems.extend(error.problems)
        except ValueError:
            problems.append(SpecProblem(repr(given), 0, 0, "", "is not a file name", "E0001"))
    if problems:
        raise SpecErrors(*problems)
    return sources


def _expanded(given: str) -> Iterator[str]:
    if given == "-" or not Path(given).is_dir():
        yield given
        return
    found = False
    for directory, below, files in os.walk(given, onerror=_raise):
        # Hidden directories belong to tools (.git), not to the set.
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            path = Path(directory, name)
            if name.endswith(SUFFIXES) and not name.startswith(".") and path.is_file():
                found = True
                yield str(path)
    if not found:
        message = "no *.yaml or *.yml file in this directory"
        raise SpecErrors(SpecProblem(given, 0, 0, "", message, "E0009"))


def _raise(error: OSError) -> None:
    raise error


def _read(name: str, stdin: BinaryIO | None) -> Source:
    if name == "-":
        if stdin is None:
            raise SpecErrors(SpecProblem("-", 0, 0, "", "no standard input here", "E0001"))
        source = Source(STDIN_NAME, stdin.read(MAX_FILE_BYTES + 1))
    else:
        with Path(name).open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        source = Source(name, text, lambda path: read_beside(Path(name), path))
    if len(source.text) > MAX_FILE_BYTES:
        message = f"larger than {MAX_FILE_BYTES // 2**20} MiB"
        raise SpecErrors(SpecProblem(source.name, 0, 0, "", message, "E0002"))
    return source


def read_beside(source: Path, path: str) -> bytes:
    """A file below the directory of `source`, one byte more than a script may have at most.

    Raises ValueError with a sentence: missing, outside, no regular file, not readable.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise ValueError(f"{path[:60]!r} must be relative to {source.name} and below its directory")
    directory = Path(os.path.realpath(source.parent))
    real = Path(os.path.realpath(directory / pure))
    if not real.is_relative_to(directory):
        raise ValueError(f"{path!r} leads out of the directory of {source.name}")
    try:
        # A pipe without a writer must not hang the command.
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ValueError(f"{path!r} is not a file")
            return file.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{path!r} cannot be read: {reason}") from None
