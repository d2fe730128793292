"""The texts of a set: files, directories and standard input, read with bounds.

Used by `clusterctl` through `specs.load`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from specs.errors import SpecErrors, SpecProblem

MAX_FILE_BYTES = 8 * 2**20
STDIN_NAME = "<stdin>"
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Source:
    """One text and the name that problems give it."""

    name: str
    text: bytes


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
            source = Source(name, file.read(MAX_FILE_BYTES + 1))
    if len(source.text) > MAX_FILE_BYTES:
        message = f"larger than {MAX_FILE_BYTES // 2**20} MiB"
        raise SpecErrors(SpecProblem(source.name, 0, 0, "", message, "E0002"))
    return source
