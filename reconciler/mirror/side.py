"""What both roles of one side share: its two files, and the ports that the engine implements."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from reconciler.mirror.blockfile import BlockFile
from reconciler.mirror.metadata import Metadata


class Stage(StrEnum):
    """Of a serving side; see `primary`."""

    ALONE = "alone"
    JOINING = "joining"
    BOTH = "both"


@dataclass(slots=True)
class Disk:
    """One side's data and metadata. `boot` is the id of this power-on."""

    data: BlockFile
    metadata: Metadata
    boot: str
    metadata_file: BlockFile


class Front(Protocol):
    """Whoever reads and writes the disk. Each token is answered once; `error` is an errno."""

    def reply(self, token: int, error: int = 0) -> None: ...


class Coordinator(Protocol):
    """Who commits `run/mirrors/<resource>`. The answer comes back as `Primary.answered`."""

    def ask_alone(self, generation: str, number: int) -> None:
        """May this side acknowledge alone, as this new generation?"""
        ...

    def ask_both(self, generation: str, number: int) -> None:
        """The peer has everything of this generation: may it be current too?"""
        ...


class World(Protocol):
    """The rest of what the roles need, so that tests decide it."""

    def now(self) -> float: ...

    def new_id(self) -> str:
        """A random generation id."""
        ...

    def tell(self, name: str, **fields: object) -> None:
        """Something that people want to know happened."""
        ...


def used_runs(data: BlockFile, begin: int, end: int, shift: int) -> Iterator[tuple[int, int]]:
    """Runs of blocks (first, end) that may hold something else than zeros between two bytes."""
    found = data.used(begin)
    while found is not None and found[0] < end:
        yield max(found[0], begin) >> shift, ((min(found[1], end) - 1) >> shift) + 1
        found = data.used(found[1])


def grow(disk: Disk, size: int) -> bool:
    """Make this side that large, durably; False when it is already. What is not surely zero in the
    new part counts as different. Nothing has changed when it raises `OSError`."""
    old = disk.metadata.header.size
    if size <= old:
        return False
    disk.data.resize(old)  # what a file had behind its end was never mirrored: zeros take its place
    disk.data.resize(size)
    disk.data.flush()
    runs = used_runs(disk.data, old, size, disk.metadata.geometry.block_shift)
    disk.metadata.grow(size, list(runs))
    return True


def prepare(disk: Disk, named: str, generation: str) -> None:
    """Before the record is asked to name `generation`: whichever of both it names after a
    crash, this side knows it. `named` is what the record names now. Nobody sends to this side
    any more, and what was sent becomes durable."""
    disk.data.flush()
    header = disk.metadata.header
    kept = tuple(one for one in header.pending if one == named)
    clean = header.clean or not header.primary
    disk.metadata.save(pending=(*kept, generation), clean=clean)
