"""A `BlockFile` that forgets: what was not flushed may be gone, reordered or torn after a crash.

`Recording` keeps every operation. `crash_states` yields what a disk may hold after a power loss at
any point: for each prefix, the flushed part plus legal outcomes of the writes since.
`ForgetfulFile` is the one for the simulator: it picks one such outcome with its own random numbers.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

SECTOR = 512


class PowerLoss(Exception):
    """The machine stopped in the middle of an operation."""


@dataclass
class _Base:
    content: bytearray

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        data = bytes(self.content[offset : offset + length])
        return data + bytes(length - len(data))

    def view(self, offset: int, length: int) -> bytes:
        return self.read(offset, length)

    def is_blank(self) -> bool:
        return not self.content.strip(b"\0")

    def used(self, offset: int) -> tuple[int, int] | None:
        for begin in range(offset - offset % SECTOR, len(self.content), SECTOR):
            if any(self.content[begin : begin + SECTOR]):
                return max(begin, offset), begin + SECTOR
        return None

    def resize(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))


@dataclass
class Recording(_Base):
    """Records writes (offset, data) and flushes (None)."""

    log: list[tuple[int, bytes] | None] = field(default_factory=list)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.log.append((offset, bytes(data)))
        _put(self.content, offset, bytes(data))

    def flush(self) -> None:
        self.log.append(None)


def crash_states(start: bytes, log: list[tuple[int, bytes] | None]) -> Iterator[tuple[int, bytes]]:
    """(operations done, content): after every operation, each subset of the writes since the last
    flush, in both directions, and with each one of them torn in the middle."""
    for done in range(len(log) + 1):
        past = log[:done]
        last = max((n for n, entry in enumerate(past) if entry is None), default=-1)
        durable = bytearray(start)
        for entry in past[: last + 1]:
            if entry is not None:
                _put(durable, *entry)
        open_writes = [entry for entry in past[last + 1 :] if entry is not None]
        for states in outcomes(open_writes):
            content = bytearray(durable)
            for offset, data in states:
                _put(content, offset, data)
            yield done, bytes(content)


def outcomes(writes: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    for length in range(len(writes) + 1):
        for chosen in itertools.permutations(writes, length) if len(writes) < 4 else _some(writes):
            yield list(chosen)
            if chosen:
                offset, data = chosen[-1]
                for cut in {SECTOR, len(data) // 2, len(data) - SECTOR}:
                    if 0 < cut < len(data):
                        yield [*chosen[:-1], (offset, data[:cut])]
                        yield [*chosen[:-1], (offset + cut, data[cut:])]


def _some(writes: list[tuple[int, bytes]]) -> Iterator[tuple[tuple[int, bytes], ...]]:
    for mask in range(1 << min(len(writes), 8)):
        chosen = tuple(w for n, w in enumerate(writes) if n < 8 and mask >> n & 1)
        yield chosen
        yield chosen[::-1]


@dataclass
class ForgetfulFile(_Base):
    """What a process sees (`content`) and what a power loss leaves are two things. `fuse` counts
    down with each operation; at 0 the machine stops in it."""

    rng: random.Random = field(default_factory=random.Random)
    durable: bytearray = field(default_factory=bytearray)
    fuse: int | None = None
    broken: bool = False
    open_writes: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.durable = bytearray(self.content)

    def _burn(self) -> bool:
        if self.broken:
            raise OSError(5, "the disk is broken")
        if self.fuse is not None:
            self.fuse -= 1
            return self.fuse <= 0
        return False

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        ends, data = self._burn(), bytes(data)
        if ends:
            cut = self.rng.randrange(len(data) // SECTOR + 1) * SECTOR
            data = data[:cut]
        self.open_writes.append((offset, data))
        _put(self.content, offset, data)
        if ends:
            raise PowerLoss

    def flush(self) -> None:
        if self._burn():
            raise PowerLoss
        for offset, data in self.open_writes:
            _put(self.durable, offset, data)
        self.open_writes.clear()

    def resize(self, size: int) -> None:
        super().resize(size)
        del self.durable[size:]
        self.durable.extend(bytes(size - len(self.durable)))

    def lose_power(self) -> None:
        """The page cache is gone; any part of it may have reached the disk before."""
        self.rng.shuffle(self.open_writes)
        for offset, data in self.open_writes:
            luck = self.rng.random()
            if luck < 0.4:
                _put(self.durable, offset, data)
            elif luck < 0.6:
                cut = self.rng.randrange(len(data) // SECTOR + 1) * SECTOR
                _put(self.durable, offset, data[:cut])
        self.open_writes.clear()
        self.content = bytearray(self.durable)
        self.fuse = None

    def kill(self) -> None:
        """Only the process is gone: the page cache is not."""
        self.fuse = None


def _put(content: bytearray, offset: int, data: bytes) -> None:
    end = offset + len(data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    content[offset:end] = data
