"""A bitmap over blocks, with its count, and runs of set bits found fast."""

import re
from collections.abc import Iterable, Iterator

_NOT_ZERO = re.compile(rb"[^\0]")


class Bitmap:
    """Bits 0 .. `length` - 1."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.bytes = bytearray((length + 7) // 8)
        self.count = 0

    def __contains__(self, bit: int) -> bool:
        return bool(self.bytes[bit >> 3] >> (bit & 7) & 1)

    def add(self, bits: Iterable[int]) -> None:
        data = self.bytes
        for bit in bits:
            mask = 1 << (bit & 7)
            if not data[bit >> 3] & mask:
                data[bit >> 3] |= mask
                self.count += 1

    def remove(self, bits: Iterable[int]) -> None:
        data = self.bytes
        for bit in bits:
            mask = 1 << (bit & 7)
            if data[bit >> 3] & mask:
                data[bit >> 3] ^= mask
                self.count -= 1

    def fill(self) -> None:
        self.load(b"\xff" * len(self.bytes))

    def clear(self) -> None:
        self.bytes = bytearray(len(self.bytes))
        self.count = 0

    def load(self, data: bytes) -> None:
        """Replace all; what lies behind the end is ignored."""
        self.bytes[:] = data[: len(self.bytes)].ljust(len(self.bytes), b"\0")
        spare = len(self.bytes) * 8 - self.length
        if spare:
            self.bytes[-1] &= 0xFF >> spare
        self.count = int.from_bytes(self.bytes, "little").bit_count()

    def merge(self, data: bytes) -> None:
        """Set also the bits that are set in `data` (of any length; the rest counts as unset)."""
        mine = int.from_bytes(self.bytes, "little")
        self.load(
            (mine | int.from_bytes(data, "little")).to_bytes(
                max(len(data), len(self.bytes)), "little"
            )
        )

    def grow(self, length: int) -> None:
        """More bits at the end, all unset."""
        self.bytes.extend(bytes((length + 7) // 8 - len(self.bytes)))
        self.length = length

    def add_run(self, first: int, end: int) -> None:
        """The same as `add(range(first, end))`, also where that would take long."""
        self.add(range(first, min(end, -(-first // 8) * 8)))
        self.add(range(max(first, end // 8 * 8), end))
        whole = slice(-(-first // 8), max(-(-first // 8), end // 8))
        data = self.bytes[whole]
        self.count += 8 * len(data) - int.from_bytes(data, "little").bit_count()
        self.bytes[whole] = b"\xff" * len(data)

    def clear_below(self, end: int) -> None:
        """Unset all bits before `end`."""
        whole = slice(0, min(end, self.length) // 8)
        data = self.bytes[whole]
        self.count -= int.from_bytes(data, "little").bit_count()
        self.bytes[whole] = bytes(len(data))
        self.remove(range(len(data) * 8, min(end, self.length)))

    def next_run(self, start: int, limit: int) -> tuple[int, int] | None:
        """(first, end) of the next run of set bits at or after `start`, at most `limit` long."""
        first = self._next(start)
        if first is None:
            return None
        end = first + 1
        while end < self.length and end - first < limit and end in self:
            end += 1
        return first, end

    def _next(self, start: int) -> int | None:
        if start >= self.length:
            return None
        here = self.bytes[start >> 3] >> (start & 7)
        if here:
            return start + (here & -here).bit_length() - 1
        found = _NOT_ZERO.search(self.bytes, (start >> 3) + 1)
        if found is None:
            return None
        byte = found.group()[0]
        return found.start() * 8 + (byte & -byte).bit_length() - 1

    def __iter__(self) -> Iterator[int]:
        bit = self._next(0)
        while bit is not None:
            yield bit
            bit = self._next(bit + 1)
