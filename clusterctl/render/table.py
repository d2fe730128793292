"""Plain aligned tables, aware of colours and of wide characters; used by all listing commands."""

import unicodedata
from collections.abc import Iterable, Sequence

import click

GAP = "  "


def width(text: str) -> int:
    """Columns that the text takes on a terminal; colour codes take none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in click.unstyle(text)
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, header first. Each row has as many cells as there are headers; line breaks
    and control characters inside a cell become blanks."""
    cells = [list(headers), *([_one_line(cell) for cell in row] for row in rows)]
    widths = [max(width(row[index]) for row in cells) for index in range(len(headers))]
    return [
        GAP.join(
            cell + " " * (widths[index] - width(cell)) for index, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def clean(text: str) -> str:
    """Text of others (reasons, messages) without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _one_line(cell: str) -> str:
    # Our own colours pass; `clean` has taken the escapes out of everything that others wrote.
    return "".join(c if c.isprintable() or c == "\x1b" else " " for c in cell) or "-"


def age(seconds: float) -> str:
    """`12s`, `3m`, `4h`, `12d`: the largest unit only. Negative (clocks differ) reads as 0s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def since(wall: float, now_wall: float) -> str:
    """Age of a moment, `-` when it is not known."""
    return age(now_wall - wall) if wall else "-"
