"""Pages survive every crash between two flushes: enumerated, not sampled."""

from reconciler.mirror.pages import SLOT, PageFile
from tests.mirror.recording import Recording, crash_states


def _content(*pages: bytes) -> Recording:
    file = Recording(bytearray(len(pages) * 2 * SLOT))
    made = PageFile(file)
    made.write(dict(enumerate(pages)))
    made.flush()
    return Recording(bytearray(file.content))


def _read(content: bytes, index: int) -> bytes:
    found = PageFile(Recording(bytearray(content))).read(index)
    assert found is not None
    return found.rstrip(b"\0")


def test_a_page_is_old_or_new_after_any_crash() -> None:
    file = _content(b"old")
    start, pages = bytes(file.content), PageFile(file)
    pages.read(0)
    for text in (b"first", b"second", b"third"):
        pages.write({0: text})
        pages.flush()
    flushed = [b"old", b"first", b"second", b"third"]
    for done, content in crash_states(start, file.log):
        lasting = done // 2
        assert _read(content, 0) in flushed[lasting : lasting + 2]


def test_writes_without_a_flush_between_never_touch_the_durable_copy() -> None:
    file = _content(b"old")
    start, pages = bytes(file.content), PageFile(file)
    pages.read(0)
    for text in (b"one", b"two", b"three"):
        pages.write({0: text})
    for _, content in crash_states(start, file.log):
        assert _read(content, 0) in (b"old", b"one", b"two", b"three")


def test_a_page_that_was_never_written_is_none_and_so_is_one_whose_copies_are_both_bad() -> None:
    assert PageFile(Recording(bytearray(4 * SLOT))).read(1) is None
    file = _content(b"text")
    file.content[100] ^= 1
    file.content[SLOT + 100] ^= 1
    assert PageFile(file).read(0) is None


def test_a_page_of_another_place_is_not_taken_for_this_one() -> None:
    file = _content(b"here", b"there")
    file.content[: 2 * SLOT] = file.content[2 * SLOT : 4 * SLOT]
    assert PageFile(file).read(0) is None
