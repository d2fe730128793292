"""Whether a run kept the mirror's promises. Pure: a history goes in, violations come out.

A history is what happened in order, each a dict with `event`:

    record {servers}                  the record that says who is current was written
    promoted {server} / refused {server, why}
    acknowledged {number, issued}     of the counter, when its disk was lost
    found {server, number, missing}   what a promoted side has; the counter begins anew afterwards
    kept {intact}                     files of earlier runs, looked at at the same time
    fsck {server, code}               2: of the file system as it is, changing nothing
    compared {equal}                  both sides' bytes, in sync
    stuck {why}                       it did not come together again
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]


def violations(history: Sequence[Event], *, asynchronous: bool) -> list[str]:
    """Sentences; empty when every promise was kept."""
    found = [*_writes(history, asynchronous=asynchronous), *_promotions(history)]
    for event in history:
        if event["event"] == "fsck" and event["code"] != 0:
            found.append(f"the file system of {event['server']} has errors")
        if event["event"] == "compared" and not event["equal"]:
            found.append("both sides are in sync and differ")
        if event["event"] == "kept" and not event["intact"]:
            found.append("a file of an earlier run has changed")
        if event["event"] == "stuck":
            found.append(f"it did not come together again: {event['why']}")
    return found


def _writes(history: Sequence[Event], *, asynchronous: bool) -> Iterator[str]:
    acknowledged = issued = 0
    for event in history:
        if event["event"] == "acknowledged":
            acknowledged, issued = event["number"], event["issued"]
        elif event["event"] == "found":
            server, number = event["server"], event["number"]
            if event["missing"]:
                yield f"{server} has {number} and lacks {event['missing'][0]}: no prefix"
            if number > issued:
                yield f"{server} has {number}, which nobody wrote"
            if number < acknowledged and not asynchronous:
                yield f"{server} has {number}, but {acknowledged} was acknowledged"


def _promotions(history: Sequence[Event]) -> Iterator[str]:
    """`promote` commits its own record last: compared is the one before."""
    current: Sequence[str] | None = None
    for event in history:
        if event["event"] == "record":
            current = event["servers"]
        elif event["event"] == "promoted":
            before = event["current"]
            if before is not None and event["server"] not in before:
                yield f"{event['server']} was promoted, but only {before} is current"
            if current is not None and list(current) != [event["server"]]:
                yield f"{event['server']} serves, and the record names {current}"
