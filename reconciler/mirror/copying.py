"""Which dirty blocks are sent next, and how many at once: the background part of `primary`."""

from collections import deque
from collections.abc import Iterator

from reconciler.mirror.decide.lineage import Meeting, Verdict
from reconciler.mirror.header import KEPT, Header
from reconciler.mirror.side import Disk, used_runs
from reconciler.mirror.wire import Link

CHUNK_BLOCKS = 8
WINDOW = 8 << 20
"""Bytes on their way while nobody else writes."""

BUSY_WINDOW = 1 << 20
"""The same while somebody does, or did within `BUSY_FOR_S`."""

BUSY_FOR_S = 0.02
SMALL = 16
"""Dirty blocks below which an asynchronous mirror keeps the order of writes again."""


class Copying:
    """`limit` is in bytes a second; 0 is no limit."""

    def __init__(self, disk: Disk, limit: int = 0) -> None:
        self._disk = disk
        self.limit = limit
        self.in_order = True
        self.full = False
        self.copied = 0
        self.started_at: float | None = None
        self.last_write = float("-inf")
        self._cursor = 0
        self._flying: deque[tuple[int, int]] = deque()
        self._flying_bytes = 0
        self._budget, self._budget_at = 0.0, 0.0

    def begin(self, asynchronous: bool, full: bool) -> None:
        """A session starts; the dirty bitmap says what is to be copied."""
        self.end()
        self.full = full
        self.in_order = not asynchronous or self._disk.metadata.dirty.count <= SMALL
        self._cursor, self.copied, self.started_at = 0, 0, None

    def mark(self, verdict: Verdict, target: Header, dirty: bytes, blank: bool) -> None:
        """Everything that the peer lacks is in the bitmap, durably, and so is from where."""
        metadata, header = self._disk.metadata, self._disk.metadata.header
        if verdict.meeting is Meeting.FULL:
            if blank and target.fresh:
                end, shift = header.size, metadata.geometry.block_shift
                for run in used_runs(self._disk.data, 0, end, shift):
                    metadata.dirty.add_run(*run)
            else:
                metadata.dirty.fill()
        elif not target.fresh:
            metadata.dirty.merge(dirty)
        metadata.save_bitmap()
        if target.current != header.current and target.current not in header.bases:
            metadata.save(bases=(*header.bases, target.current)[-KEPT:])

    def end(self) -> None:
        self._flying.clear()
        self._flying_bytes = 0

    def sent(self, seq: int, length: int) -> None:
        self._flying.append((seq, length))
        self._flying_bytes += length
        self.copied += length

    def acked(self, seq: int) -> None:
        while self._flying and self._flying[0][0] <= seq:
            self._flying_bytes -= self._flying.popleft()[1]

    def chunks(self, link: Link, now: float) -> Iterator[tuple[int, bytes | memoryview, range]]:
        """(offset, data, blocks), each to be sent before the next is asked for; the blocks are not
        dirty any more when it yields."""
        metadata, shift = self._disk.metadata, self._disk.metadata.geometry.block_shift
        dirty, size = metadata.dirty, metadata.header.size
        if self.started_at is None:
            self.started_at = now
            self._budget, self._budget_at = 0.0, now
        window = BUSY_WINDOW if now - self.last_write < BUSY_FOR_S else WINDOW
        while dirty.count and self._flying_bytes + link.backlog < window and self._may(now):
            run = dirty.next_run(self._cursor, CHUNK_BLOCKS) or dirty.next_run(0, CHUNK_BLOCKS)
            assert run is not None  # noqa: S101 - the count says that there is one
            blocks = range(*run)
            self._cursor = blocks.stop
            begin, end = blocks.start << shift, min(blocks.stop << shift, size)
            data = self._disk.data.view(begin, end - begin)
            dirty.remove(blocks)
            if dirty.count <= SMALL:
                self.in_order = True
            self._budget -= len(data)
            yield begin, data, blocks

    def _may(self, now: float) -> bool:
        if not self.limit:
            return True
        passed, self._budget_at = now - self._budget_at, now
        self._budget = min(self._budget + passed * self.limit, self.limit / 4)
        return self._budget >= 0
