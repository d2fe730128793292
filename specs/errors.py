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
        line = f"{place}  {mark}{where}{self.message} [{self.code}]"
        # Keys and names may hold anything; a terminal gets printable text on one line.
        return "".join(char if char.isprintable() else "?" for char in line)


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
    given = word[:80].lower()
    match = difflib.get_close_matches(given, candidates, n=1, cutoff=0.6)
    if not match and len(given) >= 3:
        match = sorted(name for name in candidates if name.startswith(given))[:1]
    return f", did you mean {candidates[match[0]]!r}?" if match else ""


def suggestion(word: str, known: Iterable[str], label: str = "known") -> str:
    """The nearest known word, or all of them when they are few: `; known: a, b`."""
    words = list(known)
    if (near := nearest(word, words)) or not 0 < len(words) <= _MOST_LISTED:
        return near
    return f"; {label}: {', '.join(words)}"


_MOST_LISTED = 12

CODES: dict[str, str] = {
    "E0001": "a file cannot be read",
    "E0002": "a file or document is too large",
    "E0003": "a file is not UTF-8 text",
    "E0004": "a document is not YAML",
    "E0005": "a key is given twice",
    "E0006": "a document is nested too deeply",
    "E0007": "an alias refers to nothing, or aliases expand to too much",
    "E0008": "YAML without a place in a spec: tags, directives, merge keys, keys other than text",
    "E0009": "no object was found",
    "E0010": "there are too many problems to list",
    "E0101": "unknown apiVersion or kind, or no object at all",
    "E0102": "unknown key",
    "E0103": "a required key is missing",
    "E0104": "a value has the wrong type",
    "E0105": "a value is not allowed",
    "E0106": "unknown type of resource, monitor or fence device",
    "E0107": "two objects have the same kind and name",
    "E0110": "`schema` or `explain` was asked for an unknown topic",
    "E0201": "a name refers to no object",
    "E0202": "resources depend on each other in a circle",
    "E0203": "a resource depends on a resource of another group",
    "E0204": "not exactly one Cluster",
    "E0205": "no server may run the group",
    "E0206": "a monitor would never probe",
    "E0207": "a monitor of another type of resource",
    "E0301": "an address is used twice",
    "E0302": "an address is outside the network it is declared in",
    "E0303": "a server has an address in a network that the Cluster does not have",
    "E0304": "an address is outside every network of a server that may run the group",
    "E0305": "two networks overlap",
    "E0306": "two resources use the same disk or directory",
    "E0307": "a hybrid disk does not fit its group",
    "E0308": "a mirror without exactly two servers",
    "E0309": "two mirrors use the same port",
    "E0310": "the servers of a mirror have no network in common",
    "E0311": "a mirror's own file lies on the disk that it is",
    "E0312": "a device or directory that is used by something else on a server",
    "E0313": "a device that is too small",
    "E0314": "volumes that do not fit their disk",
    "E0315": "a change that would move or shrink a volume with data",
    "E0316": "a mirror that cannot grow now",
    "E0401": "timings that contradict each other",
    "E0402": "no network carries heartbeats",
    "E0403": "a heartbeat path that cannot work",
    "E0502": "a proof that this group cannot rest on",
    "W0303": "a server has no address in a network",
    "W0401": "timings that work but are unwise",
    "W0402": "a device name that may change",
    "W0601": "the number of servers weakens the quorum",
    "W0602": "a server cannot be fenced",
    "W0603": "a group has no resources",
    "W0604": "heartbeats travel on one network only",
    "W0605": "a proof that will not come from every server",
    "W0606": "a probe may take much longer than its interval",
    "W0607": "a group that may run twice",
    "W0608": "a hybrid disk with a server group of one server",
    "W0609": "asynchronous mirrors that are not of the same moment",
    "W0610": "a queue that holds more than the disk",
    "W0611": "nothing is known of a device",
    "W0612": "there may not be room enough",
}
"""What each code means; a code never changes its meaning. `W` codes are warnings."""
