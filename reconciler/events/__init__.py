"""The catalogue of event names: fields, severity, meaning, and what to do. Plain data, no I/O.

The journal takes severities from here; `python -m reconciler.events` writes docs/events.md. A test
holds catalogue, sources and page together.
"""

from collections.abc import Mapping

from reconciler.events.catalogue import SECTIONS
from reconciler.events.entry import EventType, Severity

__all__ = ["CATALOGUE", "EventType", "Severity", "is_retried", "severity_of"]

CATALOGUE: Mapping[str, EventType] = {
    entry.name: entry for section in SECTIONS.values() for entry in section
}


def severity_of(name: str) -> Severity:
    """WARNING for a name that is not in the catalogue: a newer agent may have sent it."""
    entry = CATALOGUE.get(name)
    return entry.severity if entry else Severity.WARNING


def is_retried(name: str) -> bool:
    """A loop tells this one again with each try."""
    entry = CATALOGUE.get(name)
    return entry is not None and entry.retried
