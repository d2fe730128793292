"""The process of one mirror: one thread, one poll, no blocking but in the local disk.

Builds the roles, the served file and both ends of the network, and turns their events into calls.
The commands of the control socket are in `commands`.
"""

import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reconciler.mirror.channel import Pacemaker
from reconciler.mirror.checking import Checking
from reconciler.mirror.control import Answer, Control
from reconciler.mirror.dialing import Dialing
from reconciler.mirror.fuse import FuseFile
from reconciler.mirror.listening import Listening
from reconciler.mirror.metadata import Metadata, MetadataDamaged
from reconciler.mirror.opening import open_disk
from reconciler.mirror.polling import READ, Poll
from reconciler.mirror.primary import Primary
from reconciler.mirror.secondary import Refused
from reconciler.mirror.settings import Settings
from reconciler.mirror.side import grow, prepare

TICK_S = 0.1
SHORT_TICK_S = 0.02
ACTIVE_S = 30e-6
LISTEN_EVERY_S = 1.0
BACKLOG_LIMIT = 16 << 20
STOP_LIMIT_S = 5.0


class EngineError(Exception):
    """The engine cannot start; one sentence."""


class Engine:
    """`run` serves until `quit` is set."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.poll = Poll()
        settings.keys()
        os.makedirs(settings.directory, mode=0o700, exist_ok=True)
        self.disk = open_disk(settings)
        self._pacemaker = Pacemaker(settings.timeout_s / 6)
        self.front: FuseFile | None = None
        self.primary: Primary | None = None
        self.dialing: Dialing | None = None
        self.checking: Checking | None = None
        self.limit = settings.limit
        self.failure = ""
        self.quit = False
        self._held_back = False
        self._stop: tuple[float, Answer] | None = None
        self._told: dict[str, Any] = {}
        self.listening = self._listen()
        self.do: Callable[[dict[str, Any], Answer], None] = lambda *_: None
        self.control = Control(settings.control, self.poll, self._do)

    def _do(self, request: dict[str, Any], answer: Answer) -> None:
        self.do(request, answer)

    def _listen(self) -> Listening:
        return Listening(
            self.settings,
            self.disk,
            self.poll,
            self._pacemaker,
            self._why_not_follow,
            self.tell,
            self._disk_failed,
        )

    # -- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        self.listening.open()
        now = next_tick = time.monotonic()
        next_listen = now + LISTEN_EVERY_S
        ready: list[tuple[int, int]] = []
        while not self.quit:
            active = self._active_s() if ready else 0.0
            ready = self.poll.wait(max(0.0, next_tick - now), active)
            self.poll.dispatch(ready)
            self._push()
            now = time.monotonic()
            if now < next_tick:
                continue
            late = now - next_tick > self.settings.timeout_s / 4
            next_tick = now + (SHORT_TICK_S if self.limit else TICK_S)
            if late:
                self._forgive()
            self._tick(now)
            if now >= next_listen:
                next_listen = now + LISTEN_EVERY_S
                self.listening.open()
        self._close()

    def _active_s(self) -> float:
        """Somebody who writes one block after the other waits for every wake-up on the way; those
        who write many at once do not."""
        applied, self.listening.applied = self.listening.applied, 0
        few = applied == 1 if self.primary is None else len(self.primary.unanswered) <= 1
        return ACTIVE_S if few else 0.0

    def _serve(self, _: int) -> None:
        front = self.front
        if front is not None:
            front.serve()
            if not front.is_open:
                self.tell("mirror_front_closed")
                self.front = None

    def _push(self) -> None:
        self.listening.push()
        dialing, primary = self.dialing, self.primary
        if dialing is not None and primary is not None:
            if primary.link is not None:
                primary.pump()
            dialing.forget_closed()
            if dialing.channel is not None:
                dialing.channel.push()
            self._hold_back(dialing)
        if self._stop is not None and primary is not None and primary.over:
            self._stopped()

    def _hold_back(self, dialing: Dialing) -> None:
        """A network that is slower than the disk slows the writers of a synchronous mirror down,
        instead of filling the memory."""
        if self.front is None or not self.front.is_open or self.settings.asynchronous:
            return
        backlog = dialing.channel.backlog if dialing.channel is not None else 0
        hold = backlog > (BACKLOG_LIMIT // 4 if self._held_back else BACKLOG_LIMIT)
        if hold != self._held_back:
            self._held_back = hold
            self.poll.modify(self.front.fd, 0 if hold else READ)

    def _tick(self, now: float) -> None:
        for visitor in tuple(self.listening.visitors.values()):
            visitor.channel.tick(now)
        if self.dialing is not None:
            self.dialing.tick(now)
        if self.checking is not None and self.primary is not None:
            self.checking.pump(self.primary.acked_seq)
        if self._stop is not None and self.primary is not None and now > self._stop[0]:
            self.primary.finish()
        if self._stop is not None and (self.primary is None or self.primary.over):
            self._stopped()
        header = self.disk.metadata.header
        if header.isolated and time.time() > header.isolated_until:
            self.rejoin()
        self._tell_changes()

    def _forgive(self) -> None:
        for visitor in self.listening.visitors.values():
            visitor.channel.forgive()
        if self.dialing is not None and self.dialing.channel is not None:
            self.dialing.channel.forgive()

    def _close(self) -> None:
        if self.front is not None:
            self.front.close()
        if self.dialing is not None:
            self.dialing.close()
        self.listening.close()
        try:
            # Another server may read a shared disk next: nothing may be written back later.
            self.disk.data.flush()
        except OSError as error:
            self.tell("mirror_failed", reason=f"the disk cannot be flushed: {error}")
        self.control.close()

    # -- what the roles need: World, Front, Coordinator --------------------------------------------

    def now(self) -> float:
        return time.monotonic()

    def new_id(self) -> str:
        return secrets.token_hex(8)

    def tell(self, name: str, **fields: object) -> None:
        words = " ".join(f"{key}={value!r}" for key, value in fields.items())
        with suppress(OSError):  # a full disk under the log must not end the mirror
            sys.stderr.write(f"{time.time():.3f} {name} {words}\n")
            sys.stderr.flush()

    def reply(self, token: int, error: int = 0) -> None:
        if self.front is not None:
            self.front.reply(token, error)

    def ask_alone(self, generation: str, number: int) -> None:
        self._ask("alone", generation, number)

    def ask_both(self, generation: str, number: int) -> None:
        self._ask("both", generation, number)

    def _ask(self, kind: str, generation: str, number: int) -> None:
        epoch = self.primary.epoch if self.primary is not None else 0
        self.control.ask({"ask": kind, "number": number, "generation": generation, "epoch": epoch})

    # -- requests of the kernel ------------------------------------------------------------------

    def read(self, token: int, offset: int, length: int) -> None:
        front, primary = self.front, self.primary
        if front is None:
            return
        if primary is None or primary.over:
            front.reply(token, 5)
            return
        try:
            front.reply_data(token, self.disk.data.view(offset, length))
        except OSError as error:
            front.reply(token, 5)
            primary.fail(f"the disk cannot be read: {error}")

    def write(self, token: int, offset: int, data: memoryview) -> None:
        if self.primary is None:
            self.reply(token, 5)
        else:
            self.primary.write(token, offset, data)

    def flush(self, token: int) -> None:
        if self.primary is None:
            self.reply(token, 5)
        else:
            self.primary.flush(token)

    # -- roles -----------------------------------------------------------------------------------

    def _why_not_follow(self) -> Refused | None:
        if self.primary is not None:
            return Refused("it serves itself", self.disk.metadata.header.floor)
        if self.failure:
            return Refused(self.failure, 0)
        return None

    def _disk_failed(self, reason: str) -> None:
        self.failure = f"its disk failed: {reason}"
        self.tell("mirror_failed", reason=reason)

    def prepare(self, named: str) -> str:
        """Follow nobody any more, and know a new generation. Raises `OSError`, `EngineError`."""
        if self.primary is not None:
            raise EngineError("it serves already")
        if self.failure:
            raise EngineError(self.failure)
        self.listening.dismiss("this side is about to serve")
        generation = self.new_id()
        prepare(self.disk, named, generation)
        return generation

    def promote(self, epoch: int, generation: str) -> None:
        """Serve; the record names `generation`. Raises `OSError`, `EngineError`."""
        header = self.disk.metadata.header
        if self.primary is not None:
            if self.primary.epoch == epoch and not self.primary.over:
                return
            raise EngineError(f"it serves at epoch {self.primary.epoch} already")
        if epoch < header.floor:
            raise EngineError(f"epoch {epoch} is over: this side follows {header.floor}")
        if generation not in header.pending:
            raise EngineError("this generation was not prepared here")
        if header.isolated or not header.consistent:
            raise EngineError("a copy to this side began since, or it was isolated")
        self.listening.dismiss("this side serves")
        primary = Primary(
            self.disk,
            epoch,
            self,
            self,
            self,
            asynchronous=self.settings.asynchronous,
            queue_limit=self.settings.queue_limit,
        )
        primary.copying.limit = self.limit
        primary.start(generation)
        self.front = FuseFile(self.settings.served, header.size, self)
        self.poll.register(self.front.fd, self._serve)
        self._held_back = False
        self.primary = primary
        self.dialing = Dialing(self.settings, self.poll, primary, self._differs)
        self.tell("mirror_promoted", epoch=epoch, generation=generation)

    def stop(self, answer: Answer, limit_s: float = STOP_LIMIT_S) -> None:
        """Nobody uses the served file any more. The other side has `limit_s` to flush and answer;
        without it the difference is remembered."""
        if self.primary is None:
            clean = self.disk.metadata.header.clean
            answer({"ok": True, "clean": clean, "handed_over": False})
            return
        if self.front is not None:
            self.poll.unregister(self.front.fd)
            self.front.close()
            self.front = None
        self._stop = (time.monotonic() + limit_s, answer)
        self.control.withdraw()
        self.primary.stop()

    def _stopped(self) -> None:
        assert self._stop is not None  # noqa: S101 - the callers look
        _, answer = self._stop
        self._stop = None
        primary, self.primary = self.primary, None
        if self.dialing is not None:
            self.dialing.close()
            self.dialing = None
        self.checking = None
        clean = primary is not None and primary.over == "stopped"
        if not clean:
            # It ended in disorder: what this side knows is what it wrote down.
            try:
                self.disk.metadata = Metadata.open(self.disk.metadata_file)
            except (MetadataDamaged, OSError) as error:
                self._disk_failed(f"its metadata cannot be read: {error}")
        handed_over = primary is not None and primary.handed_over
        self.tell("mirror_stopped", clean=clean, handed_over=handed_over)
        answer({"ok": True, "clean": clean, "handed_over": handed_over})

    def isolate(self, seconds: float) -> None:
        """Refuse the other side's stream for a while: the data here stands still. Raises
        `OSError`, `EngineError`."""
        if not self.disk.metadata.header.consistent:
            raise EngineError("what this side has fits no moment: a copy to it is not finished")
        self.listening.dismiss("this side is isolated")
        self.disk.data.flush()
        until = time.time() + seconds
        self.disk.metadata.save(isolated=True, isolated_until=until)
        self.tell("mirror_isolated", seconds=round(seconds))

    def rejoin(self) -> None:
        """The snapshot is not needed any more; the difference is copied when the peer connects."""
        if self.disk.metadata.header.isolated:
            self.disk.metadata.save(isolated=False)
            self.tell("mirror_rejoined")

    def grow(self, size: int) -> None:
        """Make this side larger; the other one first, if it is connected. On the serving side the
        connection begins anew: both tell there what differs. Raises `OSError`, `EngineError`."""
        old, primary = self.disk.metadata.header.size, self.primary
        if size < old:
            raise EngineError(f"the mirror has {old} bytes and cannot shrink")
        if primary is not None and size > old:
            # Whoever is current, and may be promoted, has room for all that was ever served.
            if primary.over or primary.suspended:
                raise EngineError(primary.over or "this side waits for the store")
            theirs = self.dialing.peer_size if self.dialing is not None else 0
            if primary.link is not None and theirs < size:
                raise EngineError(f"the other side has {theirs} bytes, it must grow first")
        if not grow(self.disk, size):
            return
        self.tell("mirror_grown", size=size, before=old)
        if self.front is not None:
            self.front.resize(size)
        if self.dialing is not None:
            self.dialing.cut("the size has changed")

    def _differs(self, offset: int) -> None:
        if self.checking is not None:
            self.checking.differs(offset)

    def _tell_changes(self) -> None:
        status = self.brief()
        if status != self._told:
            self._told = status
            self.control.changed(status)

    def brief(self) -> dict[str, Any]:
        """What the agent is told whenever it changes."""
        primary = self.primary
        return {
            "role": "primary" if primary is not None else "secondary",
            "stage": primary.stage.value if primary is not None else "",
            "suspended": primary is not None and primary.suspended,
            "over": primary.over if primary is not None else "",
            "failure": self.failure,
            "epoch": primary.epoch if primary is not None else 0,
        }
