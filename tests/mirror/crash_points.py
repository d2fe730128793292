"""Both files of one side, recorded in one order, and what a power loss may leave of them.

Used by `test_write_points`. `written_from` collects who made metadata be written.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reconciler import mirror
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata
from reconciler.mirror.side import Disk
from tests.mirror.recording import Recording, outcomes

GEOMETRY = Geometry(block_shift=10, extent_shift=12, log_extents=3, log_pages=1)
SIZE = 32 << 10
BLOCK = 1 << GEOMETRY.block_shift
SOURCES = Path(mirror.__file__).parent
Entry = tuple[str, int, bytes | None]  # data or meta, offset, None: a flush

written_from: set[tuple[str, str]] = set()
"""(module, function) that made metadata be written."""


@dataclass
class File(Recording):
    name: str = ""
    joint: list[Entry] = field(default_factory=list)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        super().write(offset, data)
        self.joint.append((self.name, offset, bytes(data)))
        if self.name == "meta" and (caller := _caller()) is not None:
            written_from.add(caller)

    def flush(self) -> None:
        super().flush()
        self.joint.append((self.name, 0, None))


def _caller() -> tuple[str, str] | None:
    frame = sys._getframe(2)
    while Path(frame.f_code.co_filename).stem in ("metadata", "pages"):
        assert frame.f_back is not None
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return (path.stem, frame.f_code.co_name) if path.parent == SOURCES else None


class Box:
    """One side's two files; `joint` has what was done to them since it was made."""

    def __init__(self, current: str = "g1") -> None:
        self.joint: list[Entry] = []
        data = File(bytearray(SIZE), name="data", joint=self.joint)
        meta = File(bytearray(GEOMETRY.file_size(SIZE)), name="meta", joint=self.joint)
        Metadata.format(meta, Header("md", SIZE, current), GEOMETRY)
        self.joint.clear()
        self.start = {"data": bytes(data.content), "meta": bytes(meta.content)}
        self.disk = Disk(data, Metadata.open(meta, GEOMETRY), "boot", meta)
        self.data = data

    @property
    def at(self) -> int:
        return len(self.joint)

    def crashes(self) -> Iterator[tuple[int, bytes, Metadata]]:
        """(operations done, data, metadata as it is opened again)."""
        for done in range(len(self.joint) + 1):
            for data in _states(self.start["data"], _of("data", self.joint[:done]), thorough=False):
                for meta in _states(self.start["meta"], _of("meta", self.joint[:done])):
                    yield done, data, Metadata.open(Recording(bytearray(meta)), GEOMETRY)


def _of(name: str, log: list[Entry]) -> list[tuple[int, bytes] | None]:
    return [None if data is None else (at, data) for file, at, data in log if file == name]


def _states(
    start: bytes, log: list[tuple[int, bytes] | None], *, thorough: bool = True
) -> Iterator[bytes]:
    last = max((n for n, entry in enumerate(log) if entry is None), default=-1)
    durable = _applied(start, [entry for entry in log[: last + 1] if entry is not None])
    pending = [entry for entry in log[last + 1 :] if entry is not None]
    if thorough:
        for some in outcomes(pending):
            yield _applied(durable, some)
    else:
        yield durable
        if pending:
            yield _applied(durable, pending)
        for one in pending if len(pending) > 1 else ():
            yield _applied(durable, [one])


def _applied(content: bytes, writes: list[tuple[int, bytes]]) -> bytes:
    found = bytearray(content)
    for offset, data in writes:
        found[offset : offset + len(data)] = data
    return bytes(found)


def differing(one: bytes, other: bytes) -> set[int]:
    starts = range(0, SIZE, BLOCK)
    return {at // BLOCK for at in starts if one[at : at + BLOCK] != other[at : at + BLOCK]}
