"""One TCP connection of a mirror: framing, a queue that never blocks, heartbeats.

Used by both ends (`dialing`, `listening`); the engine's loop calls `readable`, `writable`, `tick`.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from reconciler.mirror.outbox import Outbox
from reconciler.mirror.polling import READ, WRITE, Poll
from reconciler.mirror.streams import Stream
from reconciler.mirror.wire import (
    HEAD,
    Inbox,
    Message,
    Op,
    ProtocolError,
    compressed,
    decompressed,
    pack,
)

_TCP_USER_TIMEOUT = 18
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SMALL = 64 << 10
"""Payloads up to here are gathered and sent together at the end of a turn of the loop."""

_BUFFER = 4 << 20
_VECTORS = 64


def at_once(connection: socket.socket, timeout_s: float) -> None:
    """No gathering in the kernel, and no longer silence than this."""
    connection.setblocking(False)
    with suppress(OSError):  # refused for the sockets that tests use
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        milliseconds = max(1, int(timeout_s * 1000))
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, milliseconds)


def widen(connection: socket.socket) -> None:
    """Room in the kernel for some large writes. Call before `connect` and `listen`: the window's
    scale is agreed upon then."""
    for forced, plain in (
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
    ):
        try:
            connection.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
        except OSError:  # not root: as much as the kernel's limit allows
            connection.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)


class Channel:
    """`on_message` is called for each message; `on_gone` once, with the reason, unless `close` was
    called before."""

    def __init__(
        self,
        stream: Stream,
        poll: Poll,
        on_message: Callable[[Message], None],
        on_gone: Callable[[str], None],
        *,
        timeout_s: float,
        ping_s: float,
        spool: Outbox | None = None,
    ) -> None:
        """`timeout_s`: how long the other side may be silent; `ping_s`: how often it hears us."""
        self._stream, self._poll = stream, poll
        self.on_message, self._on_gone = on_message, on_gone
        self._timeout, self._ping_s = timeout_s, ping_s
        self._inbox = Inbox()
        self._gathered: list[bytes] = []
        self._out = spool or Outbox()
        self.is_open = True
        self.heard_at = time.monotonic()
        self._pinged_at = 0.0
        self._wants_out = False
        self._failure = ""
        self.ping: Callable[[], bytes] = bytes
        self.packs: frozenset[Op] = frozenset()
        """Whose payloads are compressed."""
        self._greets = True
        with suppress(OSError):  # it comes again when the stream is asked next
            self._greets = not stream.shake_hands()
        self.fd = stream.fileno()
        poll.register(self.fd, self._ready)

    def _ready(self, events: int) -> None:
        if self._greets:
            self._greet()
        elif events & WRITE:
            self.writable()
        if events & ~WRITE and self.is_open and not self._greets:
            self.readable()

    def _greet(self) -> None:
        try:
            self._greets = not self._stream.shake_hands()
        except OSError as error:
            self.gone(f"no encrypted connection: {error}")
            return
        if not self._greets:
            self.writable()

    # -- sending ---------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        return self._out.size

    def send(
        self, op: Op, payload: bytes | memoryview = b"", offset: int = 0, seq: int = 0
    ) -> None:
        """See `wire.Link`."""
        if not self.is_open or self._failure:
            return
        if op in self.packs:
            op, payload = compressed(op, payload)
        head = pack(op, len(payload), offset, seq)
        if len(payload) <= _SMALL:
            self._gathered.append(head + payload if payload else head)
            return
        self.push()
        if self._out.size or self._greets:
            self._queue(head)
            self._queue(bytes(payload))
        else:
            self._send_now([head, payload])
        self._want_out()

    def push(self) -> None:
        """Give what was gathered to the network; the engine calls it once a turn."""
        if not self._gathered or not self.is_open:
            return
        gathered, self._gathered = self._gathered, []
        if self._out.size or self._greets:
            for part in gathered:
                self._queue(part)
        else:
            for begin in range(0, len(gathered), _VECTORS):
                part_list: list[bytes | memoryview] = list(gathered[begin : begin + _VECTORS])
                if self._out.size:
                    for part in part_list:
                        self._queue(bytes(part))
                else:
                    self._send_now(part_list)
        self._want_out()

    def _send_now(self, parts: "list[bytes | memoryview]") -> None:
        if self._failure:
            return  # what comes after a gap must not arrive: it would be acknowledged with it
        if self._stream.one_piece:
            parts = [b"".join(parts)]
        try:
            sent = self._stream.send(parts)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._failure = str(error)  # told by the next tick, never in the middle of a request
            return
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                self._queue(bytes(part[sent:]))
                sent = 0

    def _queue(self, part: bytes) -> None:
        try:
            self._out.append(part)
        except OSError as error:
            self._failure = f"the history cannot be written: {error}"

    def _want_out(self) -> None:
        wants = self._out.size > 0 and not self._greets
        if wants != self._wants_out and self.is_open:
            self._wants_out = wants
            self._poll.modify(self.fd, READ | (WRITE if wants else 0))

    def writable(self) -> None:
        while self._out.size and not self._failure:
            try:
                part = self._out.first()
                sent = self._stream.send([part])
            except BlockingIOError:
                break
            except OSError as error:
                self._failure = str(error)
                break
            self._out.consume(sent)
            if sent < len(part):
                break
        self._want_out()

    # -- receiving -------------------------------------------------------------------------------

    def readable(self) -> None:
        self._read()
        while self.is_open and self._stream.has_more():
            self._read()

    def _read(self) -> None:
        try:
            count = self._stream.receive(self._inbox.room())
        except BlockingIOError:
            return
        except OSError as error:
            self.gone(str(error))
            return
        if not count:
            self.gone("the other side closed the connection")
            return
        self.heard_at = time.monotonic()
        self._inbox.filled(count)
        try:
            for message in self._inbox.messages():
                self.on_message(message if message.op < Op.PACKED_WRITE else decompressed(message))
                if not self.is_open:
                    return
        except (ProtocolError, ValueError, KeyError, IndexError, OSError) as error:
            self.gone(f"unexpected data: {error}")

    # -- life ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Call several times a second, and after errors."""
        if self._failure:
            self.gone(self._failure)
        elif now - self.heard_at > self._timeout:
            self.gone(f"the other side is silent for {now - self.heard_at:.1f} s")
        elif now - self._pinged_at > self._ping_s:
            self._pinged_at = now
            self.send(Op.PING, self.ping())
            self.push()

    def forgive(self) -> None:
        """We were late ourselves: silence until now says nothing of the other side."""
        self.heard_at = time.monotonic()

    def sign_of_life(self) -> None:
        """From another thread, while this one waits for its disk and sends nothing."""
        idle = self.is_open and not (self._out.size or self._gathered or self._greets)
        if idle and not self._failure:
            self._send_now([HEAD.pack(Op.PING, 0, 0, 0)])

    def gone(self, reason: str) -> None:
        if self.is_open:
            self.close()
            self._on_gone(reason)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._poll.unregister(self.fd)
            self._stream.close()
            self._out.clear()


class Pacemaker:
    """A thread that sends signs of life on a channel while the engine waits for its disk: between
    `begin` and `end`, never beside a message of the engine itself."""

    def __init__(self, every_s: float) -> None:
        self._every = every_s
        self._busy: tuple[float, Channel] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True, name="pacemaker").start()

    def begin(self, channel: Channel) -> None:
        self._busy = (time.monotonic(), channel)

    def end(self) -> None:
        with self._lock:  # one that is half sent ends first
            self._busy = None

    def _run(self) -> None:
        while True:
            time.sleep(self._every)
            self._beat()

    def _beat(self) -> None:
        with self._lock:
            busy = self._busy
            if busy is not None and time.monotonic() - busy[0] > self._every:
                busy[1].sign_of_life()
