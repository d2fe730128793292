"""The following side's end of the network: accepts one serving side at a time.

Called by `engine`. A stranger is refused before anything is changed; an older epoch is told which
one this side follows; a proven connection of the same or a younger epoch replaces the one before.
"""

import json
import secrets
import socket
import zlib
from collections.abc import Callable

from reconciler.mirror.channel import Channel, Pacemaker, at_once, widen
from reconciler.mirror.polling import Poll
from reconciler.mirror.secondary import Refused, Secondary
from reconciler.mirror.settings import Settings, proof, proves
from reconciler.mirror.side import Disk, grow
from reconciler.mirror.streams import stream_of
from reconciler.mirror.wire import VERSION, Message, Op, ProtocolError, to_json

HANDSHAKE_S = 5.0
SLOW_FACTOR = 3.0
"""This side waits longer for its source than the other way round: nobody waits for it here."""

STRANGERS = 4
"""Connections that may be in their handshake at once."""


class Visitor:
    """One accepted connection until it is gone."""

    def __init__(self, owner: "Listening", connection: socket.socket) -> None:
        """Raises `OSError` when the certificates cannot be used."""
        self._owner = owner
        timeout = max(HANDSHAKE_S, owner.settings.timeout_s * SLOW_FACTOR)
        at_once(connection, timeout)
        stream = stream_of(connection, owner.settings.pki, serves=True)
        self.channel = Channel(
            stream,
            owner.poll,
            self._message,
            self._gone,
            timeout_s=timeout,
            ping_s=owner.settings.ping_s,
        )
        # It must not serve more than this side has.
        self.channel.ping = lambda: to_json({"size": owner.disk.metadata.header.size})
        self.session: Secondary | None = None
        self.data_as_of = 0.0
        self._nonce = secrets.token_hex(16)
        self._their_nonce, self._server, self._epoch, self._size = "", "", 0, 0

    def _message(self, message: Message) -> None:
        session = self.session
        if session is not None:
            if message.op is Op.WRITE or message.op is Op.COPY:
                self._write(session, message)
            else:
                self._apply(session, message)
        elif message.op is Op.HELLO:
            self._hello(message)
        elif message.op is Op.PROVE:
            self._prove(message)
        elif message.op is not Op.PING:
            raise ProtocolError(f"{message.op.name} before the handshake")

    def _hello(self, message: Message) -> None:
        found = message.json()
        if found.get("version") != VERSION:
            raise ProtocolError(f"version {found.get('version')}, this side speaks {VERSION}")
        if found.get("resource") != self._owner.settings.resource:
            raise ProtocolError(f"it mirrors {found.get('resource')}")
        self._server, self._epoch = str(found["server"]), int(found["epoch"])
        self._their_nonce, self._size = str(found["nonce"]), int(found.get("size", 0))
        self.channel.send(Op.CHALLENGE, to_json({"nonce": self._nonce}))

    def _prove(self, message: Message) -> None:
        settings = self._owner.settings
        keys, found = settings.keys(), str(message.json().get("proof", ""))
        bound = (settings.resource, self._epoch, self._nonce, self._their_nonce)
        if not self._their_nonce or not proves(keys, found, "source", *bound):
            raise ProtocolError("it does not know the mirror's key")
        session = self._owner.admit(self, self._epoch, self._server, self._size)
        if isinstance(session, Refused):
            refusal = {
                "reason": str(session),
                "floor": session.floor,
                "proof": proof(keys[0], "target", *bound),
            }
            self.channel.send(Op.REFUSED, to_json(refusal))
            self.channel.push()
            return
        header, dirty, blank = session.state()
        state = {
            "header": header.to_json(),
            "blank": blank,
            "proof": proof(keys[0], "target", *bound),
            "server": settings.server,
            "unpacks": ["zlib"],
        }
        text = json.dumps(state).encode()
        payload = len(text).to_bytes(4, "little") + text + zlib.compress(dirty, 1)
        self.session = session
        self.channel.send(Op.STATE, payload)

    def _write(self, session: Secondary, message: Message) -> None:
        try:
            session.write(message)
        except OSError as error:
            self._failed(error)
        else:
            self._owner.acknowledge(self.channel, message.seq)

    def _failed(self, error: OSError) -> None:
        self._owner.disk_failed(str(error))
        self.channel.gone(f"the disk failed: {error}")

    def _apply(self, session: Secondary, message: Message) -> None:
        op = message.op
        if op is Op.PING:
            if message.payload:
                self.data_as_of = float(message.json().get("wall", 0.0))
            return
        if op is Op.CHECK:
            if session.differs(message):
                self.channel.send(Op.DIFFERS, offset=message.offset, seq=message.seq)
            self.channel.send(Op.ACK, seq=message.seq)
            return
        self._owner.pacemaker.begin(self.channel)
        try:
            session.apply(message)
        except OSError as error:
            self._failed(error)
            return
        finally:
            self._owner.pacemaker.end()
        self._owner.acknowledge(self.channel, message.seq)

    def _gone(self, reason: str) -> None:
        self._owner.left(self, reason)


class Listening:
    """All accepted connections. `may_follow` says why this side follows nobody now, or None."""

    def __init__(
        self,
        settings: Settings,
        disk: Disk,
        poll: Poll,
        pacemaker: Pacemaker,
        why_not: Callable[[], Refused | None],
        tell: Callable[..., None],
        disk_failed: Callable[[str], None],
    ) -> None:
        self.settings, self.disk, self.poll = settings, disk, poll
        self.pacemaker, self._why_not, self._tell = pacemaker, why_not, tell
        self.disk_failed = disk_failed
        self.visitors: dict[int, Visitor] = {}
        self.current: Visitor | None = None
        self._ack: tuple[Channel, int] | None = None
        self.applied = 0  # since the engine looked last
        self.sockets: dict[int, socket.socket] = {}
        self.failure = ""

    def open(self) -> None:
        """Listen on every address that is there; those that are not yet are tried again."""
        self.failure = ""
        bound = {found.getsockname()[0] for found in self.sockets.values()}
        for address in self.settings.listen:
            if address in bound:
                continue
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                listener = socket.create_server((address, self.settings.port), family=family)
            except OSError as error:
                self.failure = f"{address}: {error.strerror}"
                continue
            listener.setblocking(False)
            widen(listener)
            fd = listener.fileno()
            self.sockets[fd] = listener
            self.poll.register(fd, self._acceptor(listener))

    def _acceptor(self, listener: socket.socket) -> Callable[[int], None]:
        def accept(_: int) -> None:
            try:
                connection, _from = listener.accept()
            except OSError:
                return
            if len(self.visitors) > STRANGERS:
                connection.close()
                return
            try:
                visitor = Visitor(self, connection)
            except OSError as error:
                connection.close()
                self.failure = f"the certificates cannot be used: {error}"
                return
            self.visitors[visitor.channel.fd] = visitor

        return accept

    def admit(self, visitor: Visitor, epoch: int, server: str, size: int) -> Secondary | Refused:
        """It has proven itself: from now on it is the one, or it is told why not. If it is larger,
        so becomes this side."""
        refusal = self._why_not()
        if refusal is not None:
            return refusal
        try:
            session = Secondary(self.disk, epoch, server, size)
            if grow(self.disk, size):
                self._tell("mirror_grown", size=size)
        except Refused as error:
            return error
        except OSError as error:
            reason = f"this side cannot have {size} bytes as the serving one has: {error}"
            return Refused(reason, self.disk.metadata.header.floor)
        if self.current is not None:
            if self.current.session is not None and epoch < self.current.session.epoch:
                return Refused("a younger epoch is connected", self.current.session.epoch)
            self.dismiss("replaced by a newer connection")
        self.current = visitor
        return session

    def dismiss(self, reason: str) -> None:
        """Follow nobody any more; nothing that is still on its way is applied."""
        visitor, self.current = self.current, None
        if visitor is not None:
            self.visitors.pop(visitor.channel.fd, None)
            visitor.channel.close()
            self._tell("mirror_source_left", reason=reason)

    def left(self, visitor: Visitor, reason: str) -> None:
        self.visitors.pop(visitor.channel.fd, None)
        if self.current is visitor:
            self.current = None
            self._tell("mirror_source_left", reason=reason)
        else:
            self._tell("mirror_stranger_left", reason=reason)

    def acknowledge(self, channel: Channel, seq: int) -> None:
        """Sent once a turn: the highest number stands for all before it."""
        self.applied += 1
        self._ack = (channel, seq)

    def push(self) -> None:
        if self._ack is not None:
            channel, seq = self._ack
            self._ack = None
            channel.send(Op.ACK, seq=seq)
        for visitor in self.visitors.values():
            visitor.channel.push()

    def close(self) -> None:
        for visitor in tuple(self.visitors.values()):
            visitor.channel.close()
        self.visitors.clear()
        for fd, listener in self.sockets.items():
            self.poll.unregister(fd)
            listener.close()
        self.sockets.clear()
