"""One simulated side: its two files, the roles on them, and its end of the streams. One server has
it at a time, of one, or of two that share the disk."""

import json
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from reconciler.mirror.checking import Checking
from reconciler.mirror.decide.lineage import Meeting
from reconciler.mirror.header import Header
from reconciler.mirror.metadata import Geometry, Metadata
from reconciler.mirror.primary import Primary
from reconciler.mirror.secondary import Refused, Secondary
from reconciler.mirror.side import Disk, Stage
from reconciler.mirror.wire import Message, Op
from tests.mirror.recording import ForgetfulFile
from tests.mirror.simulation.oracle import SECTOR, Oracle, stamp

GEOMETRY = Geometry(block_shift=10, extent_shift=12, log_extents=3, log_pages=1)
SIZE = 32 << 10


@dataclass
class Wire:
    """A stream between a serving node and another one. After `cut` nothing is sent any more, what
    is on its way may still arrive, and each end hears of it on its own."""

    source: "Node"
    target: "Node"
    to_target: deque[tuple[Op, bytes, int, int]] = field(default_factory=deque)
    to_source: deque[tuple[Op, bytes, int, int]] = field(default_factory=deque)
    is_cut: bool = False
    told_source: bool = False
    told_target: bool = False
    queued: int = 0

    @property
    def backlog(self) -> int:
        return self.queued

    def send(
        self, op: Op, payload: bytes | memoryview = b"", offset: int = 0, seq: int = 0
    ) -> None:
        if not self.is_cut:
            self.to_target.append((op, bytes(payload), offset, seq))
            self.queued += len(payload)

    def push(self) -> None:
        """Everything is on its way at once here."""

    def answer(self, op: Op, payload: bytes = b"", offset: int = 0, seq: int = 0) -> None:
        if not self.is_cut:
            self.to_source.append((op, payload, offset, seq))

    def close(self) -> None:
        self.is_cut = self.told_source = True

    def cut(self) -> None:
        self.is_cut = True


@dataclass
class Node:
    name: str
    rng: random.Random
    oracle: Oracle
    asynchronous: bool
    trace: Any
    servers: list[str] = field(default_factory=lambda: ["boot-0"])  # their boots
    server: int = 0
    up: bool = True
    lost_power: bool = False
    disk: Disk | None = None
    primary: Primary | None = None
    session: Secondary | None = None
    session_wire: Wire | None = None
    wire: Wire | None = None  # as the serving side
    asks: deque[tuple[str, str, int, int]] = field(default_factory=deque)  # kind, id, number, epoch
    answers: deque[tuple[int, str | None, int]] = field(default_factory=deque)
    flushes: dict[int, int] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)
    activation: tuple[str, int, str] | None = None  # stage, epoch, generation
    checking: Checking | None = None
    clock: float = 0.0
    replaced: bool = False

    def __post_init__(self) -> None:
        self.replace_disk()
        self.replaced = False

    def replace_disk(self) -> None:
        """A new, empty disk."""
        self.data = ForgetfulFile(bytearray(SIZE), rng=self.rng)
        self.meta = ForgetfulFile(bytearray(GEOMETRY.file_size(SIZE)), rng=self.rng)
        Metadata.format(self.meta, Header("md", SIZE, self.new_id()), GEOMETRY)
        self.disk = None
        self.replaced, self.lost_power = True, False

    @property
    def boot(self) -> str:
        return self.servers[self.server]

    def next_server(self) -> None:
        self.server = (self.server + 1) % len(self.servers)

    def new_id(self) -> str:
        return f"{self.name}{self.rng.getrandbits(40):010x}"

    # -- World, Front, Coordinator ---------------------------------------------------------------

    def now(self) -> float:
        self.clock += 0.01
        return self.clock

    def tell(self, name: str, **fields: object) -> None:
        self.trace(f"{self.name}: {name} {fields}")

    def reply(self, token: int, error: int = 0) -> None:
        primary = self.primary
        assert primary is not None
        if error:
            self.flushes.pop(token, None)
            self.writes.pop(token, None)
        elif token in self.flushes:
            self.oracle.flush_acked(self.flushes.pop(token), primary.epoch)
        else:
            self.oracle.write_acked(self.writes.pop(token), primary.epoch)

    def ask_alone(self, generation: str, number: int) -> None:
        assert self.primary is not None
        self.asks.append(("alone", generation, number, self.primary.epoch))

    def ask_both(self, generation: str, number: int) -> None:
        assert self.primary is not None
        self.asks.append(("both", generation, number, self.primary.epoch))

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """The engine's process starts; raises `PowerLoss`."""
        self.up = True
        metadata = Metadata.open(self.meta, GEOMETRY)
        self.disk = Disk(self.data, metadata, self.boot, self.meta)

    def die(self, power: bool) -> None:
        """The process is gone; with `power` the page cache too."""
        self.trace(f"{self.name}: {'power' if power else 'process'} lost")
        if power:
            # a disk on which everything was durable loses nothing
            self.lost_power = self.lost_power or bool(self.data.open_writes)
            self.data.lose_power()
            self.meta.lose_power()
            self.servers[self.server] = f"boot-{self.rng.getrandbits(32)}"
        self.data.fuse = self.meta.fuse = None
        self.up, self.disk, self.primary, self.activation = False, None, None, None
        self.checking = None
        self.asks.clear()
        self.answers.clear()
        self.flushes.clear()
        self.writes.clear()
        if self.session_wire is not None:
            self.session_wire.cut()
            self.session_wire.to_target.clear()
            self.session_wire.told_target = True
        if self.wire is not None:
            self.wire.cut()
            self.wire.told_source = True
            # what the kernel has sent already may arrive, what it has not may be lost
            keep = self.rng.randrange(len(self.wire.to_target) + 1)
            while len(self.wire.to_target) > keep:
                self.wire.to_target.pop()
        self.session = self.session_wire = self.wire = None

    def header(self) -> Header:
        assert self.disk is not None
        return self.disk.metadata.header

    # -- the user of the disk ----------------------------------------------------------------------

    def app_write(self, number: int) -> None:
        assert self.primary is not None
        length = self.rng.choice((1, 1, 2, 3, 6))
        first = self.rng.randrange(SIZE // SECTOR - length + 1)
        self.writes[number] = number
        if self.primary.epoch == self.oracle.newest_epoch and not self.primary.over:
            self.oracle.wrote(number, range(first, first + length))
        self.trace(f"{self.name}: write {number} at {first}+{length}")
        self.primary.write(number, first * SECTOR, stamp(number) * length)

    def app_flush(self, number: int) -> None:
        assert self.primary is not None
        self.flushes[number] = self.oracle.acked_position()
        self.trace(f"{self.name}: flush {number}")
        self.primary.flush(number)

    # -- streams -----------------------------------------------------------------------------------

    def connect(self, target: "Node") -> Wire | None:
        """Dial the other node; its state comes as the first message."""
        assert self.primary is not None
        if target.primary is not None:
            self.primary.refused("it serves itself", target.header().floor)
            return None
        assert target.disk is not None
        try:
            session = Secondary(target.disk, self.primary.epoch, self.name)
        except Refused as refusal:
            self.primary.refused(str(refusal), refusal.floor)
            return None
        target.close_session()
        wire = Wire(self, target)
        target.session, target.session_wire, self.wire = session, wire, wire
        header, dirty, blank = session.state()
        state = json.dumps({"header": header.to_json(), "dirty": dirty.hex(), "blank": blank})
        wire.answer(Op.STATE, state.encode())
        self.trace(f"{self.name}: connects to {target.name} at epoch {self.primary.epoch}")
        return wire

    def close_session(self) -> None:
        if self.session_wire is not None:
            self.session_wire.cut()
            self.session_wire.told_target = True
        self.session = self.session_wire = None

    def target_takes(self, wire: Wire) -> None:
        """The next message on its way to the following side. Raises `PowerLoss`."""
        op, payload, offset, seq = wire.to_target.popleft()
        wire.queued -= len(payload)
        if self.session is None or self.session_wire is not wire:
            return  # a closed socket
        message = Message(op, memoryview(payload), offset, seq)
        if op is Op.CHECK:
            if self.session.differs(message):
                wire.answer(Op.DIFFERS, offset=offset, seq=seq)
            wire.answer(Op.ACK, seq=seq)
            return
        try:
            if self.session.apply(message):
                if op is Op.END:
                    self.lost_power = False
                wire.answer(Op.ACK, seq=seq)
        except OSError:
            self.die(power=False)
            self.replace_disk()

    def source_takes(self, wire: Wire) -> None:
        op, payload, offset, seq = wire.to_source.popleft()
        if self.wire is not wire or self.primary is None:
            return
        if op is Op.ACK:
            self.primary.acked(seq)
        elif op is Op.DIFFERS and self.checking is not None:
            self.checking.differs(offset)
        elif op is Op.STATE:
            found = json.loads(payload)
            if not self.primary.may_connect:
                return
            verdict = self.primary.connected(
                wire,
                Header.from_json(found["header"]),
                bytes.fromhex(found["dirty"]),
                found["blank"],
            )
            self.trace(f"{self.name}: {verdict.meeting.value} ({verdict.reason})")
            if verdict.meeting is Meeting.SPLIT:
                raise AssertionError("split brain, though the record was asked")
            if not verdict.meeting.copies:
                wire.cut()

    @property
    def serves(self) -> bool:
        return self.primary is not None and not self.primary.over

    @property
    def in_sync(self) -> bool:
        return self.primary is not None and self.primary.stage is Stage.BOTH
