"""Problems of a spec set, each with its place; raised by the loader, returned by the checks."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One problem. `line` and `column` count from 1; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str
    code: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{self.path}: " if self.path else ""
        mark = "warning: " if self.severity is Severity.WARNING else ""
        return f"{place}  {mark}{where}{self.message} [{self.code}]"


class SpecError(Exception):
    """Something a user wrote is wrong. `problems` holds at least one; str has one a line."""

    def __init__(self, *problems: SpecProblem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class SpecErrors(SpecError):
    """All the errors of a whole set at once, in order of file and line."""


class UnknownTopic(SpecError, LookupError):
    """`schema` or `explain` was asked for something that does not exist."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'address'?`, or nothing when no known word is near."""
    candidates = {name.lower(): name for name in known}
    match = difflib.get_close_matches(word[:80].lower(), candidates, n=1, cutoff=0.6)
    return f", did you mean {candidates[match[0]]!r}?" if match else ""
