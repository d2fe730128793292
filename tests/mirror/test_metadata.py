"""What the metadata says after a crash always covers what the peer may lack."""

from collections.abc import Callable

import pytest

from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata, MetadataDamaged
from reconciler.mirror.pages import SLOT
from tests.mirror.recording import Recording, crash_states

GEOMETRY = Geometry(block_shift=10, extent_shift=12, log_extents=3, log_pages=1)
SIZE = 64 << 10


def _fresh() -> Recording:
    file = Recording(bytearray(GEOMETRY.file_size(SIZE)))
    Metadata.format(file, Header("md", SIZE, "g1"), GEOMETRY)
    return Recording(bytearray(file.content))


def _open(content: bytes) -> Metadata:
    return Metadata.open(Recording(bytearray(content)), GEOMETRY)


def _play(action: Callable[[Metadata, Recording], None]) -> tuple[bytes, Recording]:
    file = _fresh()
    start = bytes(file.content)
    action(Metadata.open(file, GEOMETRY), file)
    return start, file


def test_each_write_is_covered_from_before_it_begins() -> None:
    """Extents come and go in a log that holds three; at every crash point every block that was
    written by then is dirty."""
    written: list[tuple[int, int]] = []  # (operations done before the data write, block)

    def action(metadata: Metadata, file: Recording) -> None:
        metadata.save(clean=False, primary=True)
        unflushed: set[int] = set()
        metadata.unflushed = lambda: unflushed
        for extent in (0, 3, 5, 0, 9, 12, 3, 7, 15, 1):
            offset = extent << GEOMETRY.extent_shift
            metadata.touch(offset, 512)
            written.append((len(file.log), offset >> GEOMETRY.block_shift))
            unflushed.add(offset >> GEOMETRY.block_shift)

    start, file = _play(action)
    for done, content in crash_states(start, file.log):
        dirty = _open(content).dirty
        for at, block in written:
            assert at > done or block in dirty, (done, block)


def test_going_alone_is_durable_before_anything_is_answered() -> None:
    marks: list[int] = []

    def action(metadata: Metadata, file: Recording) -> None:
        metadata.save(clean=False, primary=True)
        metadata.dirty.add([3, 4])
        metadata.unflushed = lambda: [9]
        metadata.save_bitmap()
        metadata.save(pending=("g2",))
        marks.append(len(file.log))
        metadata.replace(metadata.header.with_generation("g2"))
        marks.append(len(file.log))

    start, file = _play(action)
    for done, content in crash_states(start, file.log):
        found = _open(content)
        if done >= marks[0]:
            assert {3, 4, 9} <= set(found.dirty)
            assert "g2" in (*found.header.pending, found.header.current)
        if done >= marks[1]:
            assert (found.header.current, found.header.bases) == ("g2", ("g1",))


def test_a_clean_stop_leaves_exactly_what_is_dirty() -> None:
    def action(metadata: Metadata, file: Recording) -> None:
        metadata.save(clean=False, primary=True)
        metadata.touch(0, 512)
        metadata.touch(8 << 12, 512)
        metadata.dirty.add([40])
        metadata.settle()
        metadata.save(clean=True, primary=False)

    start, file = _play(action)
    assert set(_open(bytes(file.content)).dirty) == {40}
    for _, content in crash_states(start, file.log):
        found = _open(content)
        assert not found.header.clean or set(found.dirty) in ({40}, set())


def test_growing_is_done_or_not_done_at_every_crash_point() -> None:
    def action(metadata: Metadata, file: Recording) -> None:
        metadata.dirty.add([1, 63])
        metadata.grow(4 * SIZE, [(64, 66), (200, 256)])

    start, file = _play(action)
    new = {1, 63, 64, 65, *range(200, 256)}
    for done, content in crash_states(start, file.log):
        found = _open(content)
        assert found.header.size in ((SIZE, 4 * SIZE) if done < len(file.log) else (4 * SIZE,))
        assert found.dirty.length == GEOMETRY.blocks(found.header.size)
        if found.header.size == 4 * SIZE:
            assert set(found.dirty) == new
        else:
            assert set(found.dirty) in (set(), {1, 63})
            found.grow(4 * SIZE, [(70, 71)])  # once more, by the next process
            assert set(_open(bytes(found._file.content)).dirty) == {70, *found.dirty}  # type: ignore[attr-defined]
            assert set(found.dirty) <= {1, 63, 70}


def test_a_growth_that_fails_changes_nothing() -> None:
    def action(metadata: Metadata, file: Recording) -> None:
        metadata.dirty.add([1, 63])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Recording, "write", _full)
            with pytest.raises(OSError, match="full"):
                metadata.grow(4 * SIZE, [(64, 66)])
        assert (metadata.header.size, set(metadata.dirty)) == (SIZE, {1, 63})
        assert metadata.dirty.length == GEOMETRY.blocks(SIZE)
        metadata.grow(4 * SIZE)
        assert set(_open(bytes(file.content)).dirty) == {1, 63}

    _play(action)


def _full(*_: object) -> None:
    raise OSError("the disk is full")


def test_an_interrupted_format_is_no_metadata() -> None:
    file = Recording(bytearray(GEOMETRY.file_size(SIZE)))
    Metadata.format(file, Header("md", SIZE, "g1"), GEOMETRY)
    start = bytes(GEOMETRY.file_size(SIZE))
    for done, content in crash_states(start, file.log):
        try:
            found = _open(content)
        except MetadataDamaged:
            assert done < len(file.log)
        else:
            assert found.header == Header("md", SIZE, "g1")
            assert not found.dirty.count


def test_an_unreadable_bitmap_counts_as_all_dirty_and_a_log_as_all_active() -> None:
    for page in (1, 2):
        file = _fresh()
        for slot in (0, 1):
            file.content[(2 * page + slot) * SLOT + 50] ^= 0xFF
        assert _open(bytes(file.content)).dirty.count == GEOMETRY.blocks(SIZE)


def test_no_header_is_an_error_of_its_own() -> None:
    with pytest.raises(MetadataDamaged):
        _open(bytes(GEOMETRY.file_size(SIZE)))
