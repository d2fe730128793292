"""What the user of the disk was promised, and whether a disk that is promoted keeps it.

`writes` is the order in which the serving side wrote. A promoted disk must hold a prefix of it that
has everything acknowledged (synchronous) or any prefix (asynchronous). After a power loss of that
very disk it may have lost, like any disk, some writes since the last acknowledged flush. A side
that was replaced may only acknowledge what its successor has: an answer that was on its way.
"""

import struct
from dataclasses import dataclass, field

SECTOR = 512


class Violation(Exception):
    """A promise was broken."""


def stamp(number: int) -> bytes:
    return struct.pack("<Q", number) * (SECTOR // 8)


def stamps(content: bytes | bytearray) -> list[int]:
    """The write that each sector is from; a torn sector can't be, so it is a violation."""
    found = []
    for offset in range(0, len(content), SECTOR):
        sector = bytes(content[offset : offset + SECTOR])
        number = struct.unpack_from("<Q", sector)[0]
        if sector != stamp(number):
            raise Violation(f"sector {offset // SECTOR} is corrupt")
        found.append(number)
    return found


@dataclass
class Oracle:
    sectors: int
    asynchronous: bool
    writes: list[tuple[int, range]] = field(default_factory=list)
    base: list[int] = field(default_factory=list)
    acked: int = 0  # how many of `writes`, counted from the front, were acknowledged at most
    flushed: int = 0  # how many were there when an acknowledged flush was asked for
    issued: dict[int, int] = field(default_factory=dict)  # write number: position + 1
    newest_epoch: int = 0

    def __post_init__(self) -> None:
        self.base = [0] * self.sectors

    def wrote(self, number: int, sectors: range) -> None:
        """The serving side was asked to write."""
        self.writes.append((number, sectors))
        self.issued[number] = len(self.writes)

    def write_acked(self, number: int, epoch: int) -> None:
        if epoch < self.newest_epoch and number not in self.issued:
            raise Violation(f"epoch {epoch} acknowledges after {self.newest_epoch} began")
        if epoch == self.newest_epoch:
            self.acked = max(self.acked, self.issued.get(number, 0))

    def flush_acked(self, position: int, epoch: int) -> None:
        if epoch == self.newest_epoch:
            self.flushed = max(self.flushed, position)

    def acked_position(self) -> int:
        """A flush that is asked for now covers at least this much."""
        return self.acked

    def promoted(self, content: bytes | bytearray, epoch: int, lost_power: bool) -> None:
        found = stamps(content)
        self.newest_epoch = epoch
        if lost_power:
            self._check_sectors(found)
            self.base, self.writes = found, []
            self.acked = self.flushed = 0
        else:
            kept = self._prefix(found)
            if kept < self.acked and not self.asynchronous:
                raise Violation(f"{self.acked - kept} acknowledged writes are lost")
            self.writes = self.writes[:kept]
            self.acked, self.flushed = min(self.acked, kept), kept
        self.issued = {number: n + 1 for n, (number, _) in enumerate(self.writes)}

    def _prefix(self, found: list[int]) -> int:
        now, best = list(self.base), None
        if now == found:
            best = 0
        for count, (number, sectors) in enumerate(self.writes, 1):
            for sector in sectors:
                now[sector] = number
            if now == found:
                best = count
        if best is None:
            raise Violation("what is promoted was never the content of the disk")
        return best

    def _check_sectors(self, found: list[int]) -> None:
        allowed = [{value} for value in self.base]
        for count, (number, sectors) in enumerate(self.writes, 1):
            for sector in sectors:
                if count <= self.flushed:
                    allowed[sector] = {number}
                else:
                    allowed[sector].add(number)
        for sector, value in enumerate(found):
            if value not in allowed[sector]:
                raise Violation(
                    f"after a power loss sector {sector} has {value}, not of {allowed[sector]}"
                )
