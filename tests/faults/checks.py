"""Judges histories: pure functions, a list of complaints out, none = good.

Called by the fault tests and campaigns. They read what witnesses, power histories and clients wrote
(`history.py`); the product's own opinion of who owns a group is never asked. The one thing taken
from the product's events is `group_released`: that an owner gave an epoch up after its workload
died in place; that it really had is checked by the overlap sweep.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.faults.history import Line, Run, beating, groups, runs, told, witnessed

FENCES = ("fence_confirmed", "fence_confirmed_by_person")
PROOFS = (*FENCES, "group_released", "group_granted")
FRESH_S = 2.0


def overlaps(history: Iterable[Line]) -> list[str]:
    """Two lives of one group at the same time: two servers, or twice on one."""
    complaints = []
    running: dict[str, list[Run]] = {}
    for run in runs(history):
        before = [other for other in running.get(run.group, []) if other.ended >= run.began]
        complaints += [
            f"{a.group} ran on {a.server} (epoch {a.epoch}) until {a.ended:.3f} and on "
            f"{run.server} (epoch {run.epoch}) from {run.began:.3f}"
            for a in before
        ]
        running[run.group] = [*before, run]
    return complaints


def falling_epochs(history: Iterable[Line]) -> list[str]:
    """A write of an older epoch after a newer one was seen, in the order of the shared file: the
    late writer that a storage would have to refuse. One complaint for each such writer."""
    highest: dict[str, int] = {}
    complaints: dict[tuple[str, str, int], str] = {}
    for line in witnessed(history):
        before = highest.get(line.group, 0)
        if line.epoch < before:
            text = f"{line.server} wrote {line.event} at epoch {line.epoch} after epoch {before}"
            key = (line.group, line.server, line.epoch)
            complaints.setdefault(key, f"{line.group}: {text} at {line.t:.3f}")
        highest[line.group] = max(before, line.epoch)
    return list(complaints.values())


def reused_epochs(history: Iterable[Line]) -> list[str]:
    """One epoch belongs to one server."""
    owners: dict[tuple[str, int], str] = {}
    complaints = []
    for run in runs(history):
        first = owners.setdefault((run.group, run.epoch), run.server)
        if first != run.server:
            text = f"{run.group}: epoch {run.epoch} ran on {first} and on {run.server}"
            complaints.append(text)
    return complaints


def register_violations(history: Iterable[Line]) -> list[str]:
    """The shared register: each accepted write follows the last, at an epoch not lower; and nobody
    even tried with a lower one."""
    complaints = [
        f"{line.group}: {line.server} was refused by the register at epoch {line.epoch}, which had "
        f"seen {line.more.get('seen')}"
        for line in told(history, "register_refused")
    ]
    writes = told(history, "register")
    for group in groups(writes):
        mine = sorted(witnessed(writes, group), key=lambda line: int(line.more["serial"]))
        for a, b in pairwise(mine):
            if b.epoch < a.epoch:
                complaints.append(f"{group}: register fell from epoch {a.epoch} to {b.epoch}")
            if b.more["serial"] == a.more["serial"]:
                complaints.append(f"{group}: register has write {b.more['serial']} twice")
    return complaints


def lost_numbers(history: Iterable[Line]) -> list[str]:
    """Numbered, synced writes. A `file` line says what the shared file had at its time, as ranges
    [first, last, epoch] in its order: each number once and ascending, no epoch lower than before,
    and every one that was acknowledged by then, at the epoch that it was acknowledged for."""
    lines = list(history)
    complaints = []
    for file in {line.group: line for line in told(lines, "file")}.values():
        group, ranges = file.group, file.more["ranges"]
        for (_, last, before), (first, _, epoch) in pairwise(ranges):
            if first != last + 1:
                complaints.append(f"{group}: number {first} follows {last} in the shared file")
            if epoch < before:
                complaints.append(f"{group}: epoch {epoch} wrote after epoch {before}")
        there = {
            number: epoch for first, last, epoch in ranges for number in range(first, last + 1)
        }
        complaints += [
            f"{group}: number {ack.more['number']} acknowledged by {ack.server} is lost "
            f"(epoch {ack.epoch})"
            for ack in told(lines, "ack")
            if ack.group == group and ack.t <= file.t
            if there.get(ack.more["number"]) != ack.epoch
        ]
    return complaints


def unproven_takeovers(
    history: Iterable[Line], events: Iterable[Mapping[str, Any]], slack_s: float = 0.0
) -> list[str]:
    """A group that came up on another server although the last life did not end on request, and
    since that life was last seen neither its server was proven off nor gave the epoch up (as it
    does with a program that died).

    `events` are flat: `event`, `at_wall`, `server` of a fence, `by`, `group` and `epoch` of a
    release. `slack_s` is how much the stamp of an event may be wrong.
    """
    events = list(events)
    complaints = []
    for before, run in _takeovers(history):
        earliest, latest = before.ended_wall - slack_s, run.began_wall + slack_s
        between = [event for event in events if earliest <= event["at_wall"] <= latest]
        if not any(_proves(event, before) for event in between):
            text = f"{run.group} came up on {run.server} without proof that {before.server} is off"
            complaints.append(text)
    return complaints


def _takeovers(history: Iterable[Line]) -> list[tuple[Run, Run]]:
    """Lives that follow one on another server which did not end on request."""
    found = []
    last: dict[str, Run] = {}
    for run in runs(history):
        before = last.get(run.group)
        last[run.group] = run
        if before is not None and before.server != run.server and not before.clean:
            found.append((before, run))
    return found


def _proves(event: Mapping[str, Any], run: Run) -> bool:
    """This event says that what ran then can not run any more."""
    if event["event"] in FENCES:
        return bool(event["server"] == run.server)
    if event["event"] == "group_granted":  # time alone: no other event says so
        expired = event["proof"] == "expired" and event["previous_owner"] == run.server
        return expired and bool(event["group"] == run.group)
    if event["event"] != "group_released":
        return False
    what = (event["by"], event["group"], event["epoch"])
    return what == (run.server, run.group, run.epoch)


def unfenced_takeovers(history: Iterable[Line]) -> list[str]:
    """The same, judged by the power itself: a `power` line `off` of that server (its BMC stopped
    it, nothing runs) between the last beat there and the first here, or a `released` line of that
    epoch. Wall clocks play no part."""
    lines = list(history)
    offs = [line for line in told(lines, "power") if line.more["power"] == "off"]
    released = {
        (line.server, line.more["of"], line.more["at_epoch"]) for line in told(lines, "released")
    }
    return [
        f"{run.group} came up on {run.server} at {run.began:.3f} although {before.server}, last "
        f"seen at {before.ended:.3f} (epoch {before.epoch}), was not switched off before"
        for before, run in _takeovers(lines)
        if (before.server, before.group, before.epoch) not in released
        and not any(
            off.server == before.server and before.ended <= off.t <= run.began for off in offs
        )
    ]


def lost_specs(history: Iterable[Line]) -> list[str]:
    """Specs of clients, each writing ever greater numbers to its two objects at once.

    `applied` {client, number, revision} was acknowledged; `read` {client, numbers, revisions} is
    what was read later: both objects, and the kept history as {revision: message}. Both numbers are
    equal (else it was applied by half), not lower than what was acknowledged before the read began,
    and never lower than read before; every acknowledged revision that is not too old to be kept is
    there with its own message.
    """
    complaints = []
    acknowledged: dict[str, int] = {}
    seen: dict[str, int] = {}
    revisions: dict[int, str] = {}
    for line in sorted(told(history, "applied", "read"), key=lambda line: line.t):
        client = line.more["client"]
        if line.event == "applied":
            acknowledged[client] = line.more["number"]
            revisions[line.more["revision"]] = f"{client} {line.more['number']}"
            continue
        numbers = line.more["numbers"]
        if len(set(numbers)) > 1:
            complaints.append(f"a spec of {client} is there by half: {numbers}")
        wanted = max(acknowledged.get(client, 0), seen.get(client, 0))
        if min(numbers) < wanted:
            complaints.append(f"spec {wanted} of {client} is lost: {min(numbers)} is there")
        seen[client] = max(numbers)
        kept = {int(revision): text for revision, text in line.more["revisions"].items()}
        complaints += [
            f"revision {revision} ({text!r}) was acknowledged and is lost: {kept.get(revision)!r}"
            for revision, text in revisions.items()
            if revision >= min(kept, default=0) and kept.get(revision) != text
        ]
    return list(dict.fromkeys(complaints))


def stuck(history: Iterable[Line]) -> list[str]:
    """After the faults of a round are healed the campaign sees everything well within its patience
    (`whole`; else `not_whole` with what is not), and then witnesses of all groups beat."""
    lines = list(history)
    complaints = [
        f"round {line.more['round']}: not well {line.more['patience_s']:.0f} s after the faults "
        f"were healed: {line.more['what']}"
        for line in told(lines, "not_whole")
    ]
    whole = told(lines, "whole")
    for group in groups(lines):
        lived = beating(lines, group, FRESH_S)
        complaints += [
            f"round {line.more['round']}: {group} is said to be well but does not beat"
            for line in whole
            if not lived(line.t)
        ]
    return complaints


def tracebacks(history: Iterable[Line]) -> list[str]:
    """No program ends with, or hides, an error that it did not expect."""
    found = Counter(
        f"{line.server}: {line.more['file']} has {line.more['text']!r}"
        for line in told(history, "traceback")
    )
    return [text if times == 1 else f"{text} {times} times" for text, times in found.items()]


CHECKS: dict[str, Callable[[Sequence[Line]], list[str]]] = {
    "a group runs once at a time": overlaps,
    "epochs never fall": falling_epochs,
    "an epoch belongs to one server": reused_epochs,
    "the shared register is monotonic": register_violations,
    "no acknowledged write is lost": lost_numbers,
    "a fence or a release precedes every takeover": unfenced_takeovers,
    "no acknowledged spec is lost or applied by half": lost_specs,
    "everything is well again after the faults": stuck,
    "no traceback in any log": tracebacks,
}


def complaints(history: Sequence[Line]) -> list[str]:
    """What must hold of what witnesses wrote, at any time."""
    return [
        *overlaps(history),
        *falling_epochs(history),
        *reused_epochs(history),
        *register_violations(history),
    ]


def violations(history: Sequence[Line]) -> list[str]:
    """Everything that must hold of the history of a campaign."""
    return [f"{name}: {text}" for name, check in CHECKS.items() for text in check(history)]
