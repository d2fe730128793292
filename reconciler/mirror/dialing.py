"""The serving side's end of the network: dials the other side, on its best address that answers.

Called by `engine`.
"""

import json
import os
import secrets
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

from reconciler.mirror.channel import Channel, at_once, widen
from reconciler.mirror.header import Header
from reconciler.mirror.outbox import Outbox
from reconciler.mirror.polling import WRITE, Poll
from reconciler.mirror.primary import Primary
from reconciler.mirror.settings import Settings, proof, proves
from reconciler.mirror.streams import stream_of
from reconciler.mirror.wire import VERSION, Message, Op, ProtocolError, to_json

PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class Dialing:
    """One attempt or connection at a time. `address` is the one that is in use."""

    def __init__(
        self,
        settings: Settings,
        poll: Poll,
        primary: Primary,
        differs: Callable[[int], None],
    ) -> None:
        self.settings, self._poll = settings, poll
        self._primary, self._differs = primary, differs
        self.channel: Channel | None = None
        self.address = self.problem = ""
        self.peer_size = 0
        self._connecting: socket.socket | None = None
        self._deadline = self._next_at = 0.0
        self._pause = PAUSE_S
        self._turn = 0
        self._nonce = self._their_nonce = ""

    def tick(self, now: float) -> None:
        if self.channel is not None:
            self.channel.tick(now)
        if self._connecting is not None and now > self._deadline:
            self._failed("it does not answer")
        idle = self.channel is None and self._connecting is None
        if idle and now >= self._next_at and self._primary.may_connect:
            self._dial(now)

    def _dial(self, now: float) -> None:
        if not self.settings.peers:
            return
        self.address = self.settings.peers[self._turn % len(self.settings.peers)]
        self._turn += 1
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        widen(connection)
        self._connecting, self._deadline = connection, now + self.settings.connect_timeout_s
        try:
            connection.connect((self.address, self.settings.peer_port or self.settings.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error.strerror or str(error))
            return
        self._poll.register(connection.fileno(), self._connected, WRITE)

    def _connected(self, _: int) -> None:
        """The kernel has an answer for the attempt."""
        connection = self._connecting
        if connection is None:
            return
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._failed(os.strerror(number))
            return
        self._poll.unregister(connection.fileno())
        self._connecting = None
        history = self.settings.history if self.settings.asynchronous else ""
        at_once(connection, self.settings.timeout_s)
        what = "history"
        try:
            spool = Outbox(history or None)
            what = "certificates"
            stream = stream_of(connection, self.settings.pki, serves=False)
        except OSError as error:
            connection.close()
            self._later(f"the {what} cannot be used: {error}")
            return
        self.channel = Channel(
            stream,
            self._poll,
            self._message,
            self._gone,
            timeout_s=self.settings.timeout_s,
            ping_s=self.settings.ping_s,
            spool=spool,
        )
        self.channel.ping = lambda: to_json({"wall": round(time.time(), 3)})
        self._nonce = secrets.token_hex(16)
        hello = {
            "version": VERSION,
            "resource": self.settings.resource,
            "server": self.settings.server,
            "epoch": self._primary.epoch,
            "nonce": self._nonce,
            "size": self._primary.disk.metadata.header.size,
        }
        self.channel.send(Op.HELLO, to_json(hello))
        self.channel.push()

    def _failed(self, reason: str) -> None:
        connection, self._connecting = self._connecting, None
        if connection is not None:
            with suppress(OSError, ValueError):  # it may not be registered yet
                self._poll.unregister(connection.fileno())
            connection.close()
        self._later(reason)

    def _later(self, reason: str) -> None:
        self.problem = f"{self.address}: {reason}"
        whole_round = self._turn % max(1, len(self.settings.peers)) == 0
        pause = self._pause if whole_round else 0.0
        self._next_at = time.monotonic() + pause
        if whole_round:
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    def _message(self, message: Message) -> None:
        primary, op = self._primary, message.op
        if op is Op.ACK:
            if primary.link is not None:  # else it has not proven itself
                primary.acked(message.seq)
        elif op is Op.DIFFERS:
            self._differs(message.offset)
        elif op is Op.CHALLENGE:
            self._their_nonce = str(message.json()["nonce"])
            key = self.settings.keys()[0]
            self._send(Op.PROVE, {"proof": proof(key, "source", *self._bound())})
        elif op is Op.REFUSED:
            found = message.json()
            reason, told = str(found["reason"]), str(found.get("proof", ""))
            # A stranger can keep us out. It cannot end this side's service.
            proven = proves(self.settings.keys(), told, "target", *self._bound())
            self._drop(reason)
            primary.refused(reason, int(found["floor"]) if proven else 0)
        elif op is Op.STATE:
            self._state(message)
        elif op is Op.PING and message.payload:
            self.peer_size = int(message.json()["size"])

    def _state(self, message: Message) -> None:
        length = int.from_bytes(message.payload[:4], "little")
        found = json.loads(bytes(message.payload[4 : 4 + length]))
        told = str(found.get("proof", ""))
        if not proves(self.settings.keys(), told, "target", *self._bound()):
            raise ProtocolError("it does not know the mirror's key")
        dirty = zlib.decompress(message.payload[4 + length :])
        channel = self.channel
        if channel is None or not self._primary.may_connect:
            self._drop("this side serves no more")
            return
        header = Header.from_json(found["header"])
        self.peer_size = header.size
        if self.settings.compress and "zlib" in found.get("unpacks", ()):
            ordered = {Op.WRITE} if self.settings.asynchronous else set()
            channel.packs = frozenset({Op.COPY} | ordered)
        verdict = self._primary.connected(channel, header, dirty, bool(found["blank"]))
        if verdict.meeting.copies:
            self.problem, self._pause, self._turn = "", PAUSE_S, 0
        else:
            self._drop(f"{verdict.meeting.value}: {verdict.reason}")

    def _bound(self) -> tuple[str, int, str, str]:
        """What a proof is made for."""
        return self.settings.resource, self._primary.epoch, self._their_nonce, self._nonce

    def _send(self, op: Op, data: dict[str, object]) -> None:
        if self.channel is not None:
            self.channel.send(op, to_json(data))
            self.channel.push()

    def _drop(self, reason: str) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close()
        self._turn, self._pause = 0, LONGEST_PAUSE_S
        self._later(reason)

    def _gone(self, reason: str) -> None:
        self.channel = None
        self._turn = 0
        self._later(reason)
        self._primary.lost(reason)

    def hurry(self) -> None:
        """Somebody waits for it: the next attempt is not put off."""
        self._next_at, self._pause = 0.0, PAUSE_S

    def cut(self, reason: str) -> None:
        """Somebody knows that the other side is gone: do not wait for the network to tell."""
        if self.channel is not None:
            self.channel.gone(reason)

    def forget_closed(self) -> None:
        """The primary closes its link by itself when its queue is full or it is over."""
        if self.channel is not None and not self.channel.is_open:
            self.channel = None
            self._later("closed by this side")

    def close(self) -> None:
        if self._connecting is not None:
            self._failed("closed")
        if self.channel is not None:
            self.channel.close()
            self.channel = None
