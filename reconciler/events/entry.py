"""One entry of the catalogue of events, and how bad it is. Used by `catalogue` only."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """INFO: as it should be. WARNING: look at it today. ERROR: something does not run, or could
    not be protected."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EventType:
    """One name. `fields` are those that it may carry; `advice` is empty when nothing is to do.
    `retried` marks what a loop would tell again with each try: told once in a while only."""

    name: str
    severity: Severity
    fields: tuple[str, ...]
    meaning: str
    advice: str = ""
    retried: bool = False


def info(
    name: str, fields: str, meaning: str, advice: str = "", *, retried: bool = False
) -> EventType:
    return EventType(name, Severity.INFO, tuple(fields.split()), meaning, advice, retried)


def warning(
    name: str, fields: str, meaning: str, advice: str, *, retried: bool = False
) -> EventType:
    return EventType(name, Severity.WARNING, tuple(fields.split()), meaning, advice, retried)


def error(name: str, fields: str, meaning: str, advice: str, *, retried: bool = False) -> EventType:
    return EventType(name, Severity.ERROR, tuple(fields.split()), meaning, advice, retried)
