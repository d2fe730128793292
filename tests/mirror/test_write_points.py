"""Every place where a side writes its metadata, with a power loss at every point around it.

Data and metadata are recorded in one order. After each prefix of it, whatever a disk may hold of
the writes since its last flush, both files are opened again and must say nothing that is not true.
"""

import ast
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.mirror import opening
from reconciler.mirror.checking import Checking
from reconciler.mirror.commands import serve
from reconciler.mirror.engine import Engine
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata
from reconciler.mirror.primary import Primary
from reconciler.mirror.secondary import Secondary
from reconciler.mirror.side import Stage, prepare
from reconciler.mirror.wire import Message, Op, to_json
from tests.mirror.crash_points import (
    BLOCK,
    GEOMETRY,
    SIZE,
    SOURCES,
    Box,
    File,
    differing,
    written_from,
)


class Ports:
    """Front, coordinator, world and link of a serving side; the test answers by hand."""

    backlog = 0

    def __init__(self) -> None:
        self.replies: list[tuple[int, int]] = []
        self.sent: list[tuple[Op, int]] = []
        self.asked: list[tuple[str, str, int]] = []
        self.ids = 1

    def reply(self, token: int, error: int = 0) -> None:
        self.replies.append((token, error))

    def ask_alone(self, generation: str, number: int) -> None:
        self.asked.append(("alone", generation, number))

    def ask_both(self, generation: str, number: int) -> None:
        self.asked.append(("both", generation, number))

    def now(self) -> float:
        return 0.0

    def new_id(self) -> str:
        self.ids += 1
        return f"g{self.ids}"

    def tell(self, name: str, **fields: object) -> None:
        pass

    def send(self, op: Op, payload: object = b"", offset: int = 0, seq: int = 0) -> None:
        self.sent.append((op, seq))

    def push(self) -> None:
        pass

    def close(self) -> None:
        pass


class Serving:
    """A side that was promoted. `peer` says what the other one surely has durably, from when on."""

    def __init__(self) -> None:
        self.box, self.ports = Box(), Ports()
        prepare(self.box.disk, "", "g2")
        ports = self.ports
        self.primary = Primary(self.box.disk, 1, ports, ports, ports)
        self.primary.start("g2")
        self.began = self.box.at
        self.peer: list[tuple[int, bytes]] = []

    def write(self, *blocks: int) -> None:
        for block in blocks:
            number = len(self.box.joint) + 1
            self.primary.write(number, block * BLOCK, number.to_bytes(2, "little") * 256)

    def ack(self) -> None:
        """The other side applied all that was sent, and flushed what it was told to."""
        flushed = any(op in (Op.FLUSH, Op.END) for op, _ in self.ports.sent)
        had, seq = bytes(self.box.data.content), self.ports.sent[-1][1]
        self.ports.sent.clear()
        if flushed:
            self.peer.append((self.box.at, had))
        self.primary.acked(seq)

    def join(self) -> None:
        target = Header("md", SIZE, "g0")
        self.primary.connected(self.ports, target, bytes(8), blank=False)
        while self.primary.stage is Stage.ALONE:
            self.primary.pump()
            self.ack()
        self.ack()
        self.peer = self.peer[-1:]
        self.primary.answered(self.ports.asked[-1][2], None)
        assert self.primary.stage is Stage.BOTH

    def covered(self) -> None:
        """At every crash point since both were in sync, what the peer may lack is dirty."""
        assert self.peer
        for done, data, found in self.box.crashes():
            has = [content for at, content in self.peer if at <= done]
            if has:
                assert differing(data, has[-1]) <= set(found.dirty), done


def test_a_promotion_is_durable_before_anything_is_answered() -> None:
    side = Serving()
    side.write(3)
    for done, _, found in side.box.crashes():
        known = (found.header.current, *found.header.pending)
        assert found.header.floor in (0, 1)
        if done >= side.began:
            assert "g2" in known
            assert (found.header.floor, found.header.clean, found.header.primary) == (
                1,
                False,
                True,
            )


def test_what_the_peer_may_lack_is_covered_while_both_are_in_sync_and_after_its_loss() -> None:
    side = Serving()
    side.write(1, 9)
    side.join()
    side.write(0, 5, 9, 14, 18, 2, 25)
    side.primary.flush(1000)
    side.ack()
    side.write(30, 0)
    side.ports.replies.clear()
    side.primary.lost("it died")
    _, generation, number = side.ports.asked[-1]
    asked = side.box.at
    assert side.ports.replies == []
    side.primary.answered(number, None)
    granted = side.box.at
    assert side.ports.replies
    side.write(7)
    side.covered()
    for done, _, found in side.box.crashes():
        header = found.header
        if done >= asked:
            assert generation in (header.current, *header.pending)
        if done >= granted:
            assert header.current == generation
            assert "g2" in header.bases


def test_a_stop_in_order_counts_only_once_everything_is_durable() -> None:
    side = Serving()
    side.join()
    side.write(4, 8, 12, 16)
    side.primary.stop()
    side.ack()
    assert side.primary.over == "stopped"
    whole = bytes(side.box.data.content)
    side.covered()
    for done, data, found in side.box.crashes():
        if found.header.clean and found.header.floor == 1:
            assert data == whole, done


def test_a_stop_without_an_answer_remembers_what_the_peer_may_lack() -> None:
    side = Serving()
    side.join()
    side.write(4, 8, 12, 16)
    side.primary.stop()
    side.primary.finish()
    side.covered()


def _followed() -> tuple[Box, dict[str, int], dict[str, bytes]]:
    box, at, content = Box(), {}, {}
    session = Secondary(box.disk, 1, "a")

    def take(op: Op, payload: bytes = b"", block: int = 0) -> None:
        session.apply(Message(op, memoryview(payload), block * BLOCK, 1))

    begin = {"generation": "g2", "inconsistent": True, "order_kept": False, "blocks": 3}
    take(Op.BEGIN, to_json(begin))
    at["begun"] = box.at
    for block in (2, 11, 20):
        take(Op.COPY, bytes([block]) * BLOCK, block)
    take(Op.WRITE, b"w" * 512, 11)
    take(Op.FLUSH)
    take(Op.WRITE, b"x" * 512, 27)
    content["end"] = bytes(box.data.content)
    take(Op.END, to_json({"generation": "g2"}))
    at["ended"] = box.at
    take(Op.WRITE, b"v" * 512, 2)
    take(Op.CLEAN)
    content["last"] = bytes(box.data.content)
    return box, at, content


def test_the_target_of_a_copy_is_known_as_such_from_its_first_block_to_its_last_flush() -> None:
    box, at, content = _followed()
    for done, data, found in box.crashes():
        header = found.header
        if data != box.start["data"]:
            assert not header.fresh
            assert header.floor == 1
            assert not header.consistent or header.current == "g2", done
        if header.consistent and header.current == "g2":
            assert not differing(data, content["end"]) - {2}, done
        if header.clean and header.floor == 1:
            assert data == content["last"], done
        if at["begun"] <= done < at["ended"]:
            assert not header.clean


def test_a_difference_is_remembered_before_the_copy_begins() -> None:
    """What the other side tells that it lacks may be lost there with the first block."""
    side = Serving()
    side.join()
    side.primary.lost("it died")
    side.primary.answered(side.ports.asked[-1][2], None)
    target = Header("md", SIZE, "g2", history=("g1",), fresh=False)
    begun: list[int] = []

    def sent(op: Op, *rest: Any, **more: Any) -> None:
        if op is Op.BEGIN:
            begun.append(side.box.at)

    side.ports.send = sent  # type: ignore[method-assign]
    lacks = (1 << 6 | 1 << 13).to_bytes(4, "little")
    side.primary.connected(side.ports, target, lacks, blank=False)
    for done, _, found in side.box.crashes():
        assert done < begun[0] or {6, 13} <= set(found.dirty)


def _stand_in(side: Serving | None, box: Box) -> Any:
    """As much of an engine as the commands that write touch."""
    engine = SimpleNamespace(
        disk=box.disk,
        primary=side.primary if side else None,
        settings=SimpleNamespace(resource="md"),
        listening=SimpleNamespace(dismiss=lambda reason: None),
        dialing=None,
        front=None,
        tell=lambda *args, **fields: None,
        checking=None,
    )
    for name in ("isolate", "rejoin", "grow"):
        setattr(engine, name, getattr(Engine, name).__get__(engine))
    serve(engine)  # type: ignore[arg-type]
    return engine


def _ask(engine: Any, **request: Any) -> None:
    answers: list[dict[str, Any]] = []
    engine.do(request, answers.append)
    assert answers[0]["ok"], answers


def _becomes_true(box: Box, name: str) -> None:
    """At each crash point the header is a whole one, at the end the new one."""
    for done, _, found in box.crashes():
        assert getattr(found.header, name) in ((False, True) if done < box.at else (True,))


def test_what_operators_ask_of_a_following_side_is_done_or_not_done() -> None:
    for request, field_name in (
        ({"do": "discard", "confirm": "md"}, "discard"),
        ({"do": "isolate", "seconds": 60}, "isolated"),
    ):
        box = Box()
        box.disk.metadata.save(fresh=False)
        box.start["meta"] = bytes(box.disk.metadata_file.read(0, GEOMETRY.file_size(SIZE)))
        box.joint.clear()
        engine = _stand_in(None, box)
        _ask(engine, **request)
        _becomes_true(box, field_name)
        _ask(engine, do="rejoin")
        _ask(engine, do="accept", confirm="md")
        header = Metadata.open(box.disk.metadata_file, GEOMETRY).header
        assert (header.discard, header.isolated) == (False, False)


def test_growing_and_copying_again_are_durable_when_they_are_answered() -> None:
    box = Box()
    _ask(_stand_in(None, box), do="grow", size=2 * SIZE)
    assert Metadata.open(box.disk.metadata_file, GEOMETRY).header.size == 2 * SIZE
    for done, _, found in box.crashes():
        assert found.header.size in ((SIZE, 2 * SIZE) if done < box.at else (2 * SIZE,))
    for how in ("full", "checksum"):
        side = Serving()
        side.join()
        if how == "full":
            _ask(_stand_in(side, side.box), do="resync", how="full")
            wanted = set(range(SIZE // BLOCK))
        else:
            checking = Checking(side.primary, repair=True, done=SIZE, different=[0])
            checking.pump(side.primary.acked_seq)
            wanted = set(range(SIZE // BLOCK))
        done = side.box.at
        for at, _, found in side.box.crashes():
            assert at < done or wanted <= set(found.dirty)


def test_metadata_is_made_where_nothing_is() -> None:
    meta = File(bytearray(Geometry().file_size(SIZE)), name="meta")
    settings = SimpleNamespace(resource="md", size=SIZE, metadata="x")
    made = opening._metadata(settings, meta)  # type: ignore[arg-type]
    assert Metadata.open(meta).header == made.header


def _named_in_the_sources() -> set[tuple[str, str]]:
    calls = {"save", "replace", "save_bitmap", "settle", "touch", "grow", "format"}
    found = set()
    for path in sorted(SOURCES.glob("*.py")):
        if path.stem in ("metadata", "pages"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr in calls
                    and ast.unparse(call.func.value).lower().endswith("metadata")
                ):
                    found.add((path.stem, function.name))
    return found


def test_no_write_point_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above write metadata from every function that does."""
    monkeypatch.setattr(Box, "crashes", lambda box: iter(()))
    mine = test_no_write_point_is_left_out
    for name, test in sorted(globals().items()):
        if name.startswith("test_") and test is not mine:
            test()
    assert _named_in_the_sources() == written_from
