"""Where the volumes of one mirrored disk lie on it; PURE. Used by the checks and by the drivers.

They follow from the list alone, so both servers and every apply find them at the same places: each
begins at the next whole MiB behind the one before.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ALIGNMENT = 1 << 20


class Extent(NamedTuple):
    """Bytes of one volume. `name` is "" for a disk that is one volume."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size


def layout(volumes: Iterable[tuple[str, int]]) -> tuple[Extent, ...]:
    """Extents of volumes given as (name, size), in their order."""
    found: list[Extent] = []
    for name, size in volumes:
        behind = found[-1].end if found else 0
        found.append(Extent(name, -(-behind // ALIGNMENT) * ALIGNMENT, size))
    return tuple(found)


def needed(extents: Sequence[Extent]) -> int:
    """Bytes of the smallest disk that holds them all."""
    return extents[-1].end if extents else 0


class Move(NamedTuple):
    """What a change of the list would do to data: `number` is the place in the new list to blame
    (None: it has none), `text` one sentence."""

    number: int | None
    text: str


def move(old: Sequence[Extent], new: Sequence[Extent]) -> Move | None:
    """Why the data of the old volumes would not be found by the new list; None when it would. More
    may follow at the end, and the last one may grow."""
    for number, was in enumerate(old):
        if number >= len(new):
            return Move(None, f"volume {was.name!r} has data and would be missing")
        now = new[number]
        # A disk without a list is one volume, whatever that is called in a list.
        if was.name and now.name and was.name != now.name:
            return Move(number, f"volume {was.name!r} has data here: it cannot be moved or renamed")
        name = now.name or was.name
        label = f"volume {name!r}" if name else "the disk"
        if now.size < was.size:
            text = f"{label} has {was.size} bytes and cannot shrink to {now.size}"
            return Move(number, text)
        if now.size > was.size and number + 1 < len(old):
            text = f"{label} cannot grow: {old[number + 1].name!r} follows it on the disk"
            return Move(number, text)
    return None
