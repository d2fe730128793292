"""What must not be taken for something else: signs of life beside messages, answers to other
questions, strangers at the other end; and faults of a disk beside the mirror's own."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.mirror.channel import Channel, Pacemaker
from reconciler.mirror.checking import Checking
from reconciler.mirror.dialing import Dialing
from reconciler.mirror.engine import Engine, EngineError
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Metadata
from reconciler.mirror.outbox import Outbox
from reconciler.mirror.polling import Poll
from reconciler.mirror.primary import Primary
from reconciler.mirror.settings import Settings, proof
from reconciler.mirror.side import Disk, Stage, prepare
from reconciler.mirror.streams import Parts
from reconciler.mirror.wire import HEAD, Inbox, Message, Op, to_json
from tests.mirror.recording import Recording

SIZE = 1 << 20
EPOCH = 4


class Slow:
    """A stream that takes `rooms` bytes, one entry a call; 0 is none, an error is raised."""

    one_piece = False

    def __init__(self, *rooms: int | OSError) -> None:
        self.sent = bytearray()
        self.rooms = list(rooms)
        self.end = os.eventfd(0)

    def fileno(self) -> int:
        return self.end

    def shake_hands(self) -> bool:
        return True

    def send(self, parts: Parts) -> int:
        data = b"".join(parts)
        room = self.rooms.pop(0) if self.rooms else len(data)
        if isinstance(room, OSError):
            raise room
        if not room:
            raise BlockingIOError
        self.sent += data[:room]
        return min(room, len(data))

    def receive(self, room: memoryview) -> int:
        return 0

    def has_more(self) -> bool:
        return False

    def close(self) -> None:
        os.close(self.end)

    def messages(self) -> list[tuple[Op, int]]:
        inbox = Inbox()
        room = inbox.room()
        room[: len(self.sent)] = self.sent
        inbox.filled(len(self.sent))
        return [(message.op, message.seq) for message in inbox.messages()]


def _channel(stream: Slow, spool: Outbox | None = None) -> Channel:
    return Channel(
        stream,
        Poll(),
        lambda _: None,
        lambda _: None,
        timeout_s=60.0,
        ping_s=60.0,
        spool=spool,
    )


@pytest.mark.parametrize("taken", [0, 1, 10, 16, HEAD.size - 1])
def test_half_a_sign_of_life_is_ended_before_the_next_message(taken: int) -> None:
    stream = Slow(taken)
    channel = _channel(stream)
    channel.sign_of_life()
    channel.send(Op.ACK, seq=7)
    channel.push()
    channel.writable()
    assert stream.messages() == [(Op.PING, 0), (Op.ACK, 7)]


def test_no_sign_of_life_behind_half_a_message() -> None:
    stream = Slow(16)
    channel = _channel(stream)
    channel.send(Op.ACK, seq=7)
    channel.push()
    channel.sign_of_life()
    channel.writable()
    assert stream.messages() == [(Op.ACK, 7)]


def test_the_engine_goes_on_only_when_a_sign_of_life_is_sent() -> None:
    begun, may_end, log = threading.Event(), threading.Event(), []

    class Witness:
        def sign_of_life(self) -> None:
            begun.set()
            may_end.wait(10.0)
            log.append("sent")

    pacemaker = Pacemaker(0.01)
    pacemaker.begin(cast(Channel, Witness()))
    assert begun.wait(10.0)
    threading.Timer(0.05, may_end.set).start()
    pacemaker.end()
    log.append("goes on")
    assert log == ["sent", "goes on"]


def test_nothing_is_sent_after_a_gap() -> None:
    stream = Slow(OSError(105, "no buffer space"))
    channel = _channel(stream)
    channel.send(Op.WRITE, b"small", 0, 1)
    channel.send(Op.WRITE, bytes(128 << 10), 4096, 2)  # pushes the one before
    channel.sign_of_life()
    assert stream.messages() == []


def test_a_history_that_cannot_be_read_ends_the_connection(tmp_path: Path) -> None:
    stream = Slow(0)
    gone: list[str] = []
    spool = Outbox(str(tmp_path / "history"), memory_limit=0)
    channel = Channel(
        stream, Poll(), lambda _: None, gone.append, timeout_s=60.0, ping_s=60.0, spool=spool
    )
    for number in (1, 2):
        channel.send(Op.WRITE, bytes(128 << 10), 0, number)
    (tmp_path / "history").write_bytes(b"")
    channel.writable()
    channel.tick(time.monotonic())
    assert "history" in "".join(gone)


# -- the serving role --------------------------------------------------------------------------


class Around:
    """Front, coordinator, world and link in one."""

    backlog = 0

    def __init__(self) -> None:
        self.replies: list[tuple[int, int]] = []
        self.questions: list[tuple[str, int]] = []
        self.sent: list[tuple[Op, int]] = []
        self.ids = iter(f"generation-{n}" for n in range(100))

    def reply(self, token: int, error: int = 0) -> None:
        self.replies.append((token, error))

    def ask_alone(self, generation: str, number: int) -> None:
        self.questions.append(("alone", number))

    def ask_both(self, generation: str, number: int) -> None:
        self.questions.append(("both", number))

    def now(self) -> float:
        return 0.0

    def new_id(self) -> str:
        return next(self.ids)

    def tell(self, name: str, **fields: object) -> None:
        """Nobody listens."""

    def send(self, op: Op, payload: object = b"", offset: int = 0, seq: int = 0) -> None:
        self.sent.append((op, seq))

    def push(self) -> None:
        """Sent already."""

    def close(self) -> None:
        """Nothing is open."""


def _disk() -> Disk:
    metadata = Recording(bytearray(1 << 20))
    header = Header("md", SIZE, "made")
    return Disk(Recording(bytearray(SIZE)), Metadata.format(metadata, header), "boot", metadata)


def _served(around: Around, disk: Disk, epoch: int = EPOCH) -> Primary:
    prepare(disk, "", f"begun-{epoch}")
    primary = Primary(disk, epoch, around, around, around)
    primary.start(f"begun-{epoch}")
    return primary


def _joins(primary: Primary, around: Around) -> None:
    target = Header("md", SIZE, "theirs", fresh=True)
    primary.connected(around, target, b"", True)
    primary.acked(around.sent[-1][1])
    assert primary.stage is Stage.JOINING
    primary.acked(around.sent[-1][1])


def test_the_same_answer_once_more_joins_nobody() -> None:
    around = Around()
    primary = _served(around, _disk())
    _joins(primary, around)
    primary.answered(around.questions[-1][1], None)
    primary.lost("cut")
    kind, number = around.questions[-1]
    assert kind == "alone"
    primary.answered(number, None)
    target = Header("md", SIZE, primary.disk.metadata.header.bases[0], fresh=False)
    primary.connected(around, target, b"", False)
    primary.acked(around.sent[-1][1])
    assert primary.stage is Stage.JOINING
    primary.answered(number, None)  # two agents attended, both answer
    assert primary.stage is Stage.JOINING
    primary.answered(number, "somebody else owns the group")
    assert not primary.over


def test_an_answer_to_an_earlier_service_lets_nobody_go_on_alone() -> None:
    around, disk = Around(), _disk()
    first = _served(around, disk)
    _joins(first, around)
    first.stop()
    first.acked(around.sent[-1][1])
    old = {number for _, number in around.questions}
    second = _served(around, disk, EPOCH + 1)
    _joins(second, around)
    second.answered(around.questions[-1][1], None)
    second.lost("cut")
    for number in old:
        for one in range(number, number + 10):
            second.answered(one, None)
    assert second.suspended


def test_a_bad_block_under_a_comparison_ends_the_service_not_the_engine() -> None:
    around, disk = Around(), _disk()
    primary = _served(around, disk)
    _joins(primary, around)

    def broken(offset: int, length: int) -> bytes:
        raise OSError(5, "a bad block")

    disk.data.view = broken  # type: ignore[method-assign]
    checking = Checking(primary)
    checking.pump(0)
    assert "bad block" in checking.ended
    assert "bad block" in primary.over


# -- the ends of the network ---------------------------------------------------------------------


def _settings(directory: Path, **extra: Any) -> Settings:
    (directory / "key").write_text("the key of the mirror\n")
    values: dict[str, Any] = {
        "resource": "md",
        "server": "n1",
        "peer": "n2",
        "data": str(directory / "data"),
        "metadata": str(directory / "metadata"),
        "size": SIZE,
        "directory": str(directory),
        "boot": "boot",
        "port": 7788,
        "listen": (),
        "peers": ("127.0.0.1",),
        "key_file": str(directory / "key"),
    }
    return Settings(**values | extra)


def _message(op: Op, payload: bytes = b"", seq: int = 0) -> Message:
    return Message(op, memoryview(payload), 0, seq)


def _dialing(directory: Path, primary: Primary, **extra: Any) -> Dialing:
    return Dialing(_settings(directory, **extra), Poll(), primary, lambda _: None)


def test_a_stranger_acknowledges_nothing(tmp_path: Path) -> None:
    primary = _served(Around(), _disk())
    _dialing(tmp_path, primary)._message(_message(Op.ACK, seq=1 << 40))
    assert primary.acked_seq == 0


@pytest.mark.parametrize("knows_the_key", [False, True])
def test_only_who_knows_the_key_deposes(tmp_path: Path, knows_the_key: bool) -> None:
    primary = _served(Around(), _disk())
    dialing = _dialing(tmp_path, primary)
    refusal: dict[str, object] = {"reason": "I follow another one", "floor": EPOCH + 1}
    if knows_the_key:
        key = dialing.settings.keys()[0]
        refusal["proof"] = proof(key, "target", *dialing._bound())
    dialing._message(_message(Op.REFUSED, to_json(refusal)))
    assert bool(primary.over) is knows_the_key


def test_a_history_that_cannot_be_made_keeps_the_engine(tmp_path: Path) -> None:
    primary = _served(Around(), _disk())
    nowhere = str(tmp_path / "not-there" / "history")
    dialing = _dialing(tmp_path, primary, asynchronous=True, history=nowhere)
    with socket.create_server(("127.0.0.1", 0)) as there:
        connection = socket.create_connection(there.getsockname())
        dialing._connecting = connection
        dialing._poll.register(connection.fileno(), lambda _: None)
        dialing._connected(0)
    assert dialing.channel is None
    assert "history cannot be used" in dialing.problem
    assert connection.fileno() == -1


# -- the engine ----------------------------------------------------------------------------------


def _engine(directory: Path) -> Engine:
    return Engine(_settings(directory))


def test_the_target_of_a_copy_is_no_snapshot_and_does_not_serve(tmp_path: Path) -> None:
    engine = _engine(tmp_path)
    generation = engine.prepare("")
    engine.disk.metadata.save(consistent=False)
    with pytest.raises(EngineError, match="not finished"):
        engine.isolate(60.0)
    with pytest.raises(EngineError, match="a copy to this side began"):
        engine.promote(EPOCH, generation)
    assert engine.primary is None
    engine._close()


def test_an_engine_that_is_always_late_still_looks_after_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(tmp_path)
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(engine.poll, "wait", lambda *_: [])
    ticks: list[float] = []

    def tick(now: float) -> None:
        ticks.append(now)
        engine.quit = True

    monkeypatch.setattr(engine, "_tick", tick)
    turns = 0
    push: Callable[[], None] = engine._push

    def counted() -> None:
        nonlocal turns
        turns += 1
        engine.quit = engine.quit or turns > 20
        push()

    monkeypatch.setattr(engine, "_push", counted)
    engine.run()
    assert ticks
