"""What a campaign adds to the history besides faults: the witnesses' files, the power histories of
the servers, releases out of the agents' logs, and tracebacks out of all logs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.history import Line

TRACEBACKS = ("Traceback (most recent call last)", "Task exception was never retrieved", "panic:")
TEXT_LINES = 150
RELEASED = '"event": "group_released"'
# etcd ends itself so when its disk is full or its address is away: that is how it tells
EXPECTED = ("etcd.log",)


def note(event: str, *, group: str = "", server: str = "", **more: Any) -> Line:
    """A line of now that no witness wrote."""
    return Line(time.monotonic(), time.time(), server, 0, event, group, 0, more)


def numbers_in(shared: Path, group: str) -> Line:
    """The `file` line of a group: what its file of numbers has, as ranges [first, last, epoch]. Its
    time is from before the look: what was acknowledged until then must be there."""
    ranges: list[list[int]] = []
    found = note("file", group=group, ranges=ranges)
    path = shared / f"numbers-{group}"
    for text in path.read_text().split("\n")[:-1] if path.exists() else []:
        number, epoch = (int(word) for word in text.split()[:2])
        if ranges and ranges[-1][1] == number - 1 and ranges[-1][2] == epoch:
            ranges[-1][1] = number
        else:
            ranges.append([number, number, epoch])
    return found


class Tail:
    """New whole lines of a growing file, each once. It may be replaced by an empty one."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset, self._inode = path, 0, 0

    def lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                inode = self.path.stat().st_ino
                if inode != self._inode:
                    self._offset, self._inode = 0, inode
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace").split("\n")[:-1]


def power_lines(server: str, tail: Tail) -> Iterator[Line]:
    for text in tail.lines():
        found = json.loads(text)
        more = {"power": found["power"]}
        yield Line(found["t"], found["wall"], server, 0, "power", "", 0, more)


def release_lines(server: str, tail: Tail) -> Iterator[Line]:
    """Out of the agent's log: on a server without space or descriptors events are not filed."""
    for text in tail.lines():
        if RELEASED not in text:
            continue
        found = json.loads(text)
        of = {"of": found["group"], "at_epoch": found["epoch"]}
        yield note("released", server=server, **of)


def traceback_lines(server: str, tail: Tail) -> Iterator[Line]:
    """One line for each traceback, with its last words."""
    lines = tail.lines()
    for number, text in enumerate(lines):
        if tail.path.name in EXPECTED or not any(sign in text for sign in TRACEBACKS):
            continue
        following = lines[number : number + TEXT_LINES]
        last = next((t for t in following[1:] if t and not t.startswith((" ", "\t"))), text)
        yield note("traceback", server=server, file=tail.path.name, text=last[:300])
