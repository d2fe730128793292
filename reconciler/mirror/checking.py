"""Compares both sides on demand while they are in use: the source sends digests in its stream, so
each is compared with exactly the data that it was made of."""

from dataclasses import dataclass, field

from reconciler.mirror.primary import Primary
from reconciler.mirror.secondary import digest
from reconciler.mirror.side import Stage
from reconciler.mirror.wire import Op

CHUNK = 1 << 20
WINDOW = 4


@dataclass
class Checking:
    """One run over the whole disk. `different` are offsets of chunks that differ; with `repair`
    they are copied to the other side at the end. `id` is whose run it is, `began` when it began."""

    primary: Primary
    id: str = ""
    repair: bool = False
    began: float = 0.0
    done: int = 0
    different: list[int] = field(default_factory=list)
    ended: str = ""
    _flying: list[int] = field(default_factory=list)

    def pump(self, acked: int) -> None:
        """Go on; `acked` is the highest number that the other side acknowledged."""
        if self.ended:
            return
        primary = self.primary
        link, size = primary.link, primary.disk.metadata.header.size
        if link is None or primary.stage is Stage.ALONE:
            self.ended = "the other side is not in sync"
            return
        self._flying = [seq for seq in self._flying if seq > acked]
        while self.done < size and len(self._flying) < WINDOW:
            length = min(CHUNK, size - self.done)
            try:
                found = digest(primary.disk.data.view(self.done, length))
            except OSError as error:
                self.ended = f"the disk cannot be read: {error}"
                primary.fail(self.ended)
                return
            payload = length.to_bytes(8, "little") + found
            self._flying.append(primary.send(Op.CHECK, payload, self.done))
            self.done += length
        if self.done >= size and not self._flying:
            self.ended = "done"
            if self.repair and self.different:
                self._copy_again()

    def _copy_again(self) -> None:
        """What differs is dirty when the connection begins anew."""
        metadata = self.primary.disk.metadata
        shift, size = metadata.geometry.block_shift, metadata.header.size
        self.primary.cut("both sides differ")
        for offset in self.different:
            metadata.dirty.add(range(offset >> shift, (min(offset + CHUNK, size) - 1 >> shift) + 1))
        try:
            metadata.save_bitmap()
        except OSError as error:
            self.primary.fail(f"the metadata cannot be written: {error}")

    def differs(self, offset: int) -> None:
        self.different.append(offset)
