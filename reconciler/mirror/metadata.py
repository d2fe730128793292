"""The metadata of one side: header, activity log and dirty bitmap, crash-safe.

Layout in pages (see `pages`): 0 the header, 1 .. the activity log, then the dirty bitmap, last so
that it can grow. What is on disk always covers what the peer may lack after a crash of this side:

    bitmap on disk + blocks of the extents in the activity log
        contain  dirty blocks + blocks written since the last flush of both sides

The first write into an extent of 4 MiB puts it into the activity log, durably, before the data. An
extent leaves the log only after a bitmap that has its blocks was flushed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from reconciler.mirror.bitmap import Bitmap
from reconciler.mirror.blockfile import BlockFile
from reconciler.mirror.header import Header
from reconciler.mirror.pages import PAYLOAD, SLOT, PageFile

BITS = PAYLOAD * 8
_LOG_FIRST = 1


class MetadataDamaged(Exception):
    """Both copies of the header are unreadable, or it is no metadata of this mirror at all."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes as powers of two. `log_extents`: how many extents the activity log holds at most.
    `log_pages` bounds the size of the data: one page covers 32512 extents."""

    block_shift: int = 16
    extent_shift: int = 22
    log_extents: int = 256
    log_pages: int = 256

    def blocks(self, size: int) -> int:
        return (size + (1 << self.block_shift) - 1) >> self.block_shift

    def extents(self, size: int) -> int:
        return (size + (1 << self.extent_shift) - 1) >> self.extent_shift

    def bitmap_pages(self, size: int) -> int:
        return -(-self.blocks(size) // BITS)

    def file_size(self, size: int) -> int:
        """Bytes of metadata that data of `size` bytes needs."""
        return (_LOG_FIRST + self.log_pages + self.bitmap_pages(size)) * 2 * SLOT

    def span(self, offset: int, length: int) -> range:
        """The blocks that a write touches."""
        return range(offset >> self.block_shift, ((offset + length - 1) >> self.block_shift) + 1)


def _nothing() -> Iterable[int]:
    return ()


class Metadata:
    """Every method that promises durability returns after a flush and raises `OSError`.

    `unflushed` tells the blocks that were written since both sides flushed last; whoever writes
    sets it, and each bitmap that goes to disk includes them.
    """

    def __init__(self, file: BlockFile, geometry: Geometry, header: Header) -> None:
        self._pages = PageFile(file)
        self._file = file
        self.geometry = geometry
        self.header = header
        self.dirty = Bitmap(geometry.blocks(header.size))
        self.log: dict[int, None] = {}  # extents, in the order in which they came
        self.unflushed: Callable[[], Iterable[int]] = _nothing
        self._on_disk = bytearray(len(self.dirty.bytes))
        self._extent_bits = Bitmap(geometry.extents(header.size))

    @classmethod
    def format(cls, file: BlockFile, header: Header, geometry: Geometry = Geometry()) -> "Metadata":
        """Begin anew; the header is written last, so a half-made one is seen as none."""
        made = cls(file, geometry, header)
        first = _LOG_FIRST + geometry.log_pages
        made._pages.write(dict.fromkeys(range(_LOG_FIRST, first), b""))
        made._pages.write({first + n: b"" for n in range(geometry.bitmap_pages(header.size))})
        made._pages.flush()
        made._pages.write({0: header.to_bytes()})
        made._pages.flush()
        return made

    @classmethod
    def open(cls, file: BlockFile, geometry: Geometry = Geometry()) -> "Metadata":
        """What a stopped or crashed side left. A bitmap that can't be read counts as all dirty."""
        page = PageFile(file).read(0)
        if page is None:
            raise MetadataDamaged("both copies of the mirror's metadata are unreadable or missing")
        try:
            header = Header.from_bytes(page)
        except ValueError as error:
            raise MetadataDamaged(str(error)) from None
        found = cls(file, geometry, header)
        found._load()
        return found

    def _load(self) -> None:
        self._pages.read(0)
        log = b""
        for number in range(self.geometry.log_pages):
            if number * BITS < self._extent_bits.length:
                page = self._pages.read(_LOG_FIRST + number)
                log += page if page is not None else b"\xff" * PAYLOAD
        self._extent_bits.load(log)
        self.log = dict.fromkeys(self._extent_bits)
        bitmap = b""
        for number in range(self.geometry.bitmap_pages(self.header.size)):
            page = self._pages.read(self._first_bitmap + number)
            bitmap += page if page is not None else b"\xff" * PAYLOAD
        self.dirty.load(bitmap)
        self._on_disk[:] = self.dirty.bytes
        for extent in self.log:
            self.dirty.add(self._blocks_of(extent))
        # What is read may sit in a cache only: from now on it is relied on.
        self._pages.flush()

    @property
    def _first_bitmap(self) -> int:
        return _LOG_FIRST + self.geometry.log_pages

    def _blocks_of(self, extent: int) -> range:
        shift = self.geometry.extent_shift - self.geometry.block_shift
        return range(extent << shift, min((extent + 1) << shift, self.dirty.length))

    # -- header --------------------------------------------------------------------------------

    def save(self, **changes: Any) -> None:
        """Change fields of the header, durably."""
        self.replace(replace(self.header, **changes))

    def replace(self, header: Header) -> None:
        self._pages.write({0: header.to_bytes()})
        self._pages.flush()
        self.header = header

    # -- activity log --------------------------------------------------------------------------

    def touch(self, offset: int, length: int) -> None:
        """Call before each write: its extents are in the log, durably, when this returns."""
        shift = self.geometry.extent_shift
        first, last = offset >> shift, (offset + length - 1) >> shift
        log = self.log
        if first in log and (first == last or last in log):
            return
        wanted = [extent for extent in range(first, last + 1) if extent not in log]
        if first - 1 in log and last + 1 < self._extent_bits.length:
            # It goes forward: fewer, larger steps.
            ahead = range(last + 1, min(last + 4, self._extent_bits.length))
            wanted += [extent for extent in ahead if extent not in log]
        if len(log) + len(wanted) > self.geometry.log_extents:
            self._make_room(len(wanted), range(first, last + 1))
        self._log_changed(added=wanted)
        self._pages.flush()

    def _make_room(self, wanted: int, keep: Iterable[int]) -> None:
        self.save_bitmap()
        leaving = max(wanted, self.geometry.log_extents // 2)
        old = [extent for extent in self.log if extent not in keep][:leaving]
        self._log_changed(removed=old)
        # Not flushed here: it becomes durable with the extents that come in.

    def _log_changed(self, added: Iterable[int] = (), removed: Iterable[int] = ()) -> None:
        touched = set()
        for extent in removed:
            del self.log[extent]
            touched.add(extent // BITS)
        self._extent_bits.remove(removed)
        for extent in added:
            self.log[extent] = None
            touched.add(extent // BITS)
        self._extent_bits.add(added)
        data = self._extent_bits.bytes
        self._pages.write(
            {_LOG_FIRST + n: bytes(data[n * PAYLOAD : (n + 1) * PAYLOAD]) for n in touched}
        )

    # -- bitmap --------------------------------------------------------------------------------

    def save_bitmap(self) -> None:
        """Put the dirty bitmap and everything that is not flushed on disk, durably."""
        wanted = Bitmap(self.dirty.length)
        wanted.bytes[:] = self.dirty.bytes
        wanted.add(self.unflushed())
        changed = {}
        for number in range(self.geometry.bitmap_pages(self.header.size)):
            part = slice(number * PAYLOAD, (number + 1) * PAYLOAD)
            if wanted.bytes[part] != self._on_disk[part]:
                changed[self._first_bitmap + number] = bytes(wanted.bytes[part])
        if changed:
            self._pages.write(changed)
            self._pages.flush()
            self._on_disk[:] = wanted.bytes

    def settle(self) -> None:
        """Both sides are flushed, or the bitmap has everything: empty the activity log, durably."""
        self.save_bitmap()
        if self.log:
            self._log_changed(removed=list(self.log))
            self._pages.flush()

    # -- size ----------------------------------------------------------------------------------

    def grow(self, size: int, dirty: Iterable[tuple[int, int]] = ()) -> None:
        """More data at the end; `dirty` are runs of blocks (first, end) there, or next to it. The
        header with the new size is written last, and nothing has changed if any of it fails."""
        geometry = self.geometry
        if geometry.extents(size) > geometry.log_pages * BITS:
            raise OSError(f"a mirror cannot have {size} bytes")
        if self._file.size < geometry.file_size(size):
            self._file.resize(geometry.file_size(size))
        self.save_bitmap()
        grown, on_disk = Bitmap(geometry.blocks(size)), Bitmap(geometry.blocks(size))
        for bitmap, old in ((grown, self.dirty.bytes), (on_disk, self._on_disk)):
            bitmap.load(bytes(old))
            for run in dirty:
                bitmap.add_run(*run)
        old_pages = geometry.bitmap_pages(self.header.size)
        pages = range(old_pages - 1, geometry.bitmap_pages(size))
        for number in pages[1:]:
            self._pages.read(self._first_bitmap + number)  # an attempt that failed may have left it
        self._pages.write(
            {
                self._first_bitmap + n: bytes(on_disk.bytes[n * PAYLOAD : (n + 1) * PAYLOAD])
                for n in pages
            }
        )
        self._pages.flush()
        self.save(size=size)
        self.dirty.grow(grown.length)
        self.dirty.load(bytes(grown.bytes))
        self._on_disk[:] = on_disk.bytes
        self._extent_bits.grow(geometry.extents(size))
