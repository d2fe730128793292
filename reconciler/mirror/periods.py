"""Blocks that were written since both sides were last known to be flushed."""

from collections import deque
from collections.abc import Iterable, Iterator


class Periods:
    """A period ends with each flush that is sent; it is forgotten when that flush is acknowledged.

    A block is in here from the moment it is sent: the peer may have acknowledged it out of a cache
    that it loses.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._sealed: deque[tuple[int, set[int]]] = deque()

    def add(self, blocks: Iterable[int]) -> None:
        self._open.update(blocks)

    def seal(self, seq: int) -> None:
        """A flush with this number is on its way."""
        if self._open:
            self._sealed.append((seq, self._open))
            self._open = set()

    def flushed(self, seq: int) -> None:
        """Everything up to this number is durable on both sides."""
        while self._sealed and self._sealed[0][0] <= seq:
            self._sealed.popleft()

    def clear(self) -> None:
        self._open = set()
        self._sealed.clear()

    @property
    def open_count(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[int]:
        for _, blocks in self._sealed:
            yield from blocks
        yield from self._open
