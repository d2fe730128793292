"""Writes docs/events.md from the catalogue: `python -m reconciler.events [--check]`.

With `--check` nothing is written, and the exit code is 1 when the page is not what the catalogue
says.
"""

import argparse
import sys
from pathlib import Path

from reconciler.events.catalogue import SECTIONS
from reconciler.events.entry import EventType

PAGE = Path("docs/events.md")
COMMAND = "python -m reconciler.events"
_INTRO = f"""\
# Events

Written by `{COMMAND}`; a test keeps it up to date.

`clusterctl events` shows them in order of time; `-f` goes on. Each server also keeps its own in
`events.jsonl` in its state directory, which needs no store. Each event has an `id` that sorts by
time, a `name`, the `server` that reports it, a time (`at_wall`, seconds since 1970) and the fields
below.

Severity: **info** is as it should be, **warning** wants a look today, **error** says that something
does not run or could not be protected.

What a loop tries again and again is told at once, and then at most every 30 s (marked "retried"
below); `repeated` says how many were left out since.
"""


def page() -> str:
    """docs/events.md."""
    parts = [_INTRO]
    for title, entries in SECTIONS.items():
        parts.append(
            f"\n## {title}\n\n| Event | Severity | Fields | Meaning | What to do |\n"
            "|---|---|---|---|---|\n"
        )
        parts.extend(_row(entry) for entry in entries)
    return "".join(parts)


def _row(entry: EventType) -> str:
    fields = ", ".join(f"`{name}`" for name in entry.fields)
    severity = entry.severity.value + (", retried" if entry.retried else "")
    return f"| `{entry.name}` | {severity} | {fields} | {entry.meaning} | {entry.advice} |\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Writes docs/events.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when stale")
    parser.add_argument("--file", type=Path, default=PAGE)
    chosen = parser.parse_args(arguments)
    file: Path = chosen.file
    wanted = page()
    fresh = file.exists() and file.read_text() == wanted
    if chosen.check:
        if not fresh:
            sys.stdout.write(f"{file} is stale: run {COMMAND}\n")
        return 0 if fresh else 1
    if not fresh:
        file.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
