"""The side that serves: what may be answered when, and what the other side lacks.

Called by the engine with one event at a time; never blocks but in its own files.

    ALONE      the record says that only this side is current. Answers after the local write; copies
               to the peer, if there is one.
    JOINING    the peer was sent everything. Answers wait for it, the record is asked to name both.
    BOTH       the record names both.

When the peer is lost while JOINING or BOTH, nothing is answered until the record says again that
only this side is current, with a new generation (`suspended`). A refusal there, or by a peer that
follows a younger epoch, ends this side's service for good (`over`): every request gets EIO.
"""

import errno
from dataclasses import replace

from reconciler.mirror.copying import Copying
from reconciler.mirror.decide.lineage import Meeting, Verdict, compare
from reconciler.mirror.header import Header
from reconciler.mirror.periods import Periods
from reconciler.mirror.side import Coordinator, Disk, Front, Stage, World
from reconciler.mirror.unanswered import Unanswered
from reconciler.mirror.wire import Link, Op, to_json

UNFLUSHED_LIMIT = 1 << 14
"""Blocks (1 GiB) after which both sides are flushed although nobody asked."""


class Primary:
    """Made when this side is promoted at `epoch`; `start` makes it serve."""

    def __init__(
        self,
        disk: Disk,
        epoch: int,
        front: Front,
        coordinator: Coordinator,
        world: World,
        *,
        asynchronous: bool = False,
        queue_limit: int = 64 << 20,
    ) -> None:
        self.disk, self.epoch = disk, epoch
        self._data, self._metadata = disk.data, disk.metadata
        self._front, self._coordinator, self._world = front, coordinator, world
        self.asynchronous, self.queue_limit = asynchronous, queue_limit
        self.stage = Stage.ALONE
        self.suspended = False
        self.over = ""
        self.link: Link | None = None
        self.copying = Copying(disk)
        self.verdict: Verdict | None = None
        self._periods = Periods()
        self._metadata.unflushed = lambda: self._periods
        self._seq = self._end_seq = self._last_flush = self.acked_seq = 0
        self.unanswered = Unanswered(front.reply)
        self._stopping, self._question = 0, epoch << 16  # an answer to an earlier service fits none
        self.handed_over = False

    def start(self, generation: str) -> None:
        """Serve as `generation`, which the record names already. Durable before it returns, and so
        is all data: whoever reads it from now on takes it for granted."""
        self._data.flush()
        header = self._metadata.header
        self._metadata.save_bitmap()
        if header.current != generation:
            header = header.with_generation(generation)
        self._metadata.replace(
            replace(
                header,
                floor=self.epoch,
                primary=True,
                clean=False,
                boot=self.disk.boot,
                discard=False,
            )
        )

    # -- requests of the front -----------------------------------------------------------------

    def write(self, token: int, offset: int, data: "bytes | memoryview") -> None:
        if self.over:
            self._front.reply(token, errno.EIO)
        elif self.suspended:
            self.unanswered.hold(token, offset, bytes(data))
        else:
            self._write(token, offset, data)

    def _write(self, token: int, offset: int, data: "bytes | memoryview") -> None:
        blocks = self._metadata.geometry.span(offset, len(data))
        link = None if self._only_marks() else self.link
        try:
            self._metadata.touch(offset, len(data))
            if link is not None:
                self._send(link, offset, data, blocks)
            self._data.write(offset, data)
        except OSError as error:
            self._metadata.dirty.add(blocks)
            self._front.reply(token, errno.EIO)
            self.fail(f"the disk cannot be written: {error}")
            return
        if link is None:
            self._metadata.dirty.add(blocks)
            self._front.reply(token)
            return
        if self._waits():
            self.unanswered.wait(self._seq, token)
        else:
            self._front.reply(token)
        if self.asynchronous and link.backlog > self.queue_limit:
            self.cut("the queue of writes is full")
        elif self._periods.open_count > UNFLUSHED_LIMIT:
            self._flush_both()

    def _send(self, link: Link, offset: int, data: "bytes | memoryview", blocks: range) -> None:
        """Before the local write, so that both disks work at the same time."""
        if self.stage is Stage.ALONE:
            self.copying.last_write = self._world.now()
        self._periods.add(blocks)
        peer_is_idle = self.acked_seq == self._seq
        self._seq += 1
        link.send(Op.WRITE, data, offset, self._seq)
        if peer_is_idle:
            link.push()

    def flush(self, token: int) -> None:
        if self.over:
            self._front.reply(token, errno.EIO)
            return
        if self.suspended:
            self.unanswered.hold(token, 0, None)
            return
        waits = self._waits() and self.link is not None
        if self._flush_both() and waits:
            self.unanswered.wait(self._seq, token)
        else:
            self._front.reply(token, errno.EIO if self.over else 0)

    def _waits(self) -> bool:
        return self.stage is not Stage.ALONE and not self.asynchronous

    def _only_marks(self) -> bool:
        """In order is sent only what can be: until the peer has caught up, an asynchronous mirror
        marks blocks, and copies them later."""
        return self.asynchronous and self.stage is Stage.ALONE and not self.copying.in_order

    def _flush_both(self) -> bool:
        """False when the local disk failed. The peer flushes at the same time."""
        if self.link is not None:
            self._seq += 1
            self._periods.seal(self._seq)
            self.link.send(Op.FLUSH, seq=self._seq)
            self.link.push()  # the peer's disk works while ours does
        try:
            self._data.flush()
        except OSError as error:
            self.fail(f"the disk cannot be flushed: {error}")
            return False
        return True

    # -- the peer --------------------------------------------------------------------------------

    @property
    def may_connect(self) -> bool:
        return not self.over and not self.suspended and self.link is None and not self._stopping

    def connected(self, link: Link, target: Header, dirty: bytes, blank: bool) -> Verdict:
        """The peer told what it is. With a verdict that copies, the stream is in use from now on;
        otherwise the caller closes it."""
        metadata = self._metadata
        verdict = self.verdict = compare(metadata.header, target, self.epoch)
        if verdict.meeting is Meeting.STALE:
            self._depose(verdict.reason)
        if not verdict.meeting.copies:
            return verdict
        try:
            self.copying.mark(verdict, target, dirty, blank)
        except OSError as error:
            self.fail(f"the metadata cannot be written: {error}")
            return verdict
        count = metadata.dirty.count
        self.link = link
        self.copying.begin(self.asynchronous, verdict.meeting is Meeting.FULL)
        self._seq += 1
        begin = {
            "generation": metadata.header.current,
            "inconsistent": count > 0,
            "order_kept": self.asynchronous,
            "blocks": count,
        }
        link.send(Op.BEGIN, to_json(begin), seq=self._seq)
        self._world.tell(
            "mirror_copy_started", blocks=count, how=verdict.meeting.value, why=verdict.reason
        )
        self.pump()
        return verdict

    def pump(self) -> None:
        """Copy on, as far as the limits allow now. Call when an acknowledgement came, when the
        link has room again, and from time to time."""
        link = self.link
        if link is None or self.stage is not Stage.ALONE or self._stopping:
            return
        try:
            for offset, data, blocks in self.copying.chunks(link, self._world.now()):
                self._periods.add(blocks)
                self._seq += 1
                self.copying.sent(self._seq, len(data))
                link.send(Op.COPY, data, offset, self._seq)
                if self._periods.open_count > UNFLUSHED_LIMIT and not self._flush_both():
                    return
        except OSError as error:
            self.fail(f"the disk cannot be read: {error}")
            return
        if self._metadata.dirty.count == 0:
            self._complete(link)

    def _complete(self, link: Link) -> None:
        """Everything was sent. First both sides flush, while nobody waits for the peer; then it is
        told that it is complete, and from there on nothing is answered without it."""
        if self._last_flush == 0:
            if self._flush_both():
                self._last_flush = self._seq
        elif self.acked_seq >= self._last_flush:
            self._last_flush = 0
            self.stage = Stage.JOINING
            self._end_seq = self._seq = self._seq + 1
            self._periods.seal(self._seq)
            generation = self._metadata.header.current
            link.send(Op.END, to_json({"generation": generation}), seq=self._seq)
            try:
                self._data.flush()
            except OSError as error:
                self.fail(f"the disk cannot be flushed: {error}")

    def acked(self, seq: int) -> None:
        """The peer applied everything up to `seq`."""
        self.acked_seq = seq
        for waits in (self.unanswered.acked, self._periods.flushed, self.copying.acked):
            waits(seq)
        if self._end_seq and seq >= self._end_seq:
            self._end_seq = 0
            self._peer_is_complete()
        if self._stopping and seq >= self._stopping:
            self.handed_over = self.stage is Stage.BOTH  # it has everything, flushed
            self.finish()
        elif self.stage is Stage.ALONE:
            self.pump()

    def _peer_is_complete(self) -> None:
        try:
            self._metadata.save(bases=())
            self._metadata.save_bitmap()
        except OSError as error:
            self.fail(f"the metadata cannot be written: {error}")
            return
        self._world.tell("mirror_copy_finished", generation=self._metadata.header.current)
        if not self._stopping:
            self._question += 1
            self._coordinator.ask_both(self._metadata.header.current, self._question)

    def lost(self, reason: str) -> None:
        """The stream is gone, whatever was on its way."""
        if self.link is None:
            return
        self.link = None
        self._end_seq = self._last_flush = 0
        self.copying.end()
        dirty = self._metadata.dirty
        dirty.add(self._periods)
        self._periods.clear()
        self._world.tell("mirror_peer_lost", reason=reason, blocks=dirty.count)
        if self.over:
            return
        if self._stopping:
            self.finish()
        elif self.stage is not Stage.ALONE:
            self._suspend()

    def _suspend(self) -> None:
        """Nothing is answered any more; ask whether this side may go on alone."""
        self.suspended = True
        self._question += 1
        generation = self._world.new_id()
        pending = (*self._metadata.header.pending[-3:], generation)
        try:
            self._metadata.save_bitmap()
            self._metadata.save(pending=pending)
        except OSError as error:
            self.fail(f"the metadata cannot be written: {error}")
            return
        self._coordinator.ask_alone(generation, self._question)

    def send(self, op: Op, payload: bytes, offset: int) -> int:
        """Something that changes nothing there, in its place in the stream; returns its number."""
        self._seq += 1
        if self.link is not None:
            self.link.send(op, payload, offset, self._seq)
        return self._seq

    def cut(self, reason: str) -> None:
        """End the connection; the other side is dialled again."""
        if self.link is not None:
            self.link.close()
            self.lost(reason)

    # -- the coordinator's answers -----------------------------------------------------------------

    def answered(self, number: int, refusal: str | None) -> None:
        """None grants. An answer to an older question says nothing."""
        if number != self._question or self.over:
            return
        self._question += 1  # the same answer once more says nothing
        if refusal is not None:
            self._depose(refusal)
        elif self.suspended:
            self._alone()
        elif self.stage is Stage.JOINING:
            self.stage = Stage.BOTH
            self._world.tell("mirror_in_sync", generation=self._metadata.header.current)

    def _alone(self) -> None:
        header = self._metadata.header
        try:
            self._metadata.replace(header.with_generation(header.pending[-1]))
        except OSError as error:
            self.fail(f"the metadata cannot be written: {error}")
            return
        self.stage, self.suspended = Stage.ALONE, False
        self._world.tell("mirror_alone", generation=self._metadata.header.current)
        # All of them are on the local disk, and in the bitmap.
        self.unanswered.answer_waiting(0)
        for token, offset, data in self.unanswered.take_held():
            if data is None:
                self.flush(token)
            else:
                self.write(token, offset, data)

    # -- the end ---------------------------------------------------------------------------------

    def refused(self, reason: str, floor: int) -> None:
        """The peer does not want this side's stream; it may follow a younger epoch."""
        self.verdict = Verdict(Meeting.REFUSED, reason)
        if floor > self.epoch:
            self._depose(f"the other side follows epoch {floor}")

    def fail(self, reason: str) -> None:
        """This side's disk can't be relied on: no request succeeds any more."""
        self._world.tell("mirror_failed", reason=reason)
        self.abort(reason)

    def _depose(self, reason: str) -> None:
        self._world.tell("mirror_deposed", reason=reason, epoch=self.epoch)
        self.abort(reason)

    def abort(self, reason: str) -> None:
        """Every request fails from now on, so that a hanging unmount ends."""
        self.over, self.suspended = self.over or reason, False
        self.unanswered.answer_all(errno.EIO)
        if self.link is not None:
            self.link.close()
            self.lost(reason)

    # -- a stop in order -------------------------------------------------------------------------

    def stop(self) -> None:
        """Nobody uses the disk any more. `stopped` is True once both sides are flushed, or it is
        known what the peer lacks."""
        if self._stopping or self.over:
            return
        if not self._flush_both():
            return
        self._stopping = self._seq = self._seq + 1
        if self.link is None:
            self.finish()
        else:
            self.link.send(Op.CLEAN, seq=self._seq)

    def finish(self) -> None:
        """Write down that this side stopped in order. Also called when the peer does not answer."""
        if self.over or not self._stopping:
            return
        link, self.link = self.link, None
        self.unanswered.answer_all(errno.EIO)
        self._metadata.dirty.add(self._periods)
        self._periods.clear()
        try:
            self._metadata.settle()
            self._metadata.save(primary=False, clean=True, boot="")
        except OSError as error:
            self.fail(f"the metadata cannot be written: {error}")
            return
        self.over = "stopped"
        if link is not None:
            link.close()

    @property
    def stopped(self) -> bool:
        return bool(self.over)
