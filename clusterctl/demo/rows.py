"""A client that inserts numbered rows into PostgreSQL and notes which ones were acknowledged.

`python3 -S rows.py ADDRESS PORT`, standard library only: it runs in the lab's client. It speaks the
database's own protocol. After each outage it counts, before anything else, which of the
acknowledged rows are there. One JSON line each: {"event": "ready"}, "rows" five times a second,
"outage" when one has ended, "end" when standard input has.
"""

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

CONNECT_S = 0.2
ANSWER_S = 0.4
"""A server without power never answers: what is longer is the client's own part of an outage."""

LOOK_S = 5.0
"""The same for what is asked before the first write: a database that comes up takes its time."""

PAUSE_S = 0.02
TELL_EVERY_S = 0.2
PROTOCOL = 196608
TABLE = "CREATE TABLE IF NOT EXISTS rows (n bigint PRIMARY KEY, at timestamptz DEFAULT now())"


class Refused(Exception):
    """The server answered with an error: its sentence."""


class Session:
    """One connection. Every method raises `OSError` when the server is gone or silent."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=CONNECT_S)
        self._socket.settimeout(LOOK_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        try:
            names = b"user\0postgres\0database\0postgres\0\0"
            start = struct.pack("!I", PROTOCOL) + names
            self._socket.sendall(struct.pack("!I", len(start) + 4) + start)
            self._answer()
        except (OSError, Refused):
            self.close()
            raise

    def query(self, sql: str) -> list[list[str]]:
        """The rows of the answer, as text. Returns once the transaction is committed."""
        text = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
        return self._answer()

    def _answer(self) -> list[list[str]]:
        rows: list[list[str]] = []
        refusal = ""
        while True:
            kind, body = self._message()
            if kind == b"D":
                rows.append(list(_columns(body)))
            elif kind == b"E":
                refusal = body.replace(b"\0", b" ").decode(errors="replace").strip()
                if not rows and b"FATAL" in body:
                    raise Refused(refusal)
            elif kind == b"R" and body[:4] != b"\0\0\0\0":
                raise Refused("the server wants a password")
            elif kind == b"Z":
                if refusal:
                    raise Refused(refusal)
                return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._take(5)
        (length,) = struct.unpack("!I", head[1:])
        return head[:1], self._take(length - 4)

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._received += data
        found, self._received = self._received[:size], self._received[size:]
        return found

    def patience(self, seconds: float) -> None:
        """How long an answer may take from now on."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()


def _columns(body: bytes) -> Iterator[str]:
    (count,) = struct.unpack("!H", body[:2])
    at = 2
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        yield body[at : at + max(0, length)].decode(errors="replace")
        at += max(0, length)


class Writer:
    """`acknowledged` is the highest number whose insert was answered; all below it were, too."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._session: Session | None = None
        self.acknowledged = 0
        self._answered_at = time.time()
        self._told_at = 0.0
        self._began = 0.0

    def run(self) -> None:
        """Until standard input ends: a signal would not reach it through the lab's namespaces."""
        while not _ended():
            try:
                if self._session is None:
                    self._session = self._connected()
                self._insert(self._session)
            except (OSError, Refused):
                self._lose()
        self._finish()

    def _insert(self, session: Session) -> None:
        session.query(f"INSERT INTO rows (n) VALUES ({self.acknowledged + 1})")  # noqa: S608 - own number
        self.acknowledged += 1
        self._answered_at = time.time()
        if self._answered_at - self._told_at > TELL_EVERY_S:
            self._told_at = self._answered_at
            _say(event="rows", acknowledged=self.acknowledged)

    def _connected(self) -> Session:
        session = Session(self._address, self._port)
        try:
            self._look(session)
        except (OSError, Refused):
            session.close()
            raise
        session.patience(ANSWER_S)
        return session

    def _look(self, session: Session) -> None:
        """Before the first write: what is there of what was acknowledged?"""
        if not self._began:
            session.query(TABLE)
        highest, missing = self._found(session)
        now = time.time()
        if self._began:
            _say(
                event="outage",
                began=self._answered_at,
                ended=now,
                ms=round((now - self._answered_at) * 1000, 1),
                acknowledged=self.acknowledged,
                missing=missing,
                unanswered=max(0, highest - self.acknowledged),
            )
        else:
            _say(event="ready", found=highest)
        self._began = self._began or now
        # A row may be there whose answer was lost.
        self.acknowledged = max(self.acknowledged, highest)
        self._answered_at = now

    def _found(self, session: Session) -> tuple[int, int]:
        """(highest number, how many of the acknowledged rows are not there)."""
        ((highest,),) = session.query("SELECT coalesce(max(n), 0) FROM rows")
        ((count,),) = session.query(
            f"SELECT count(*) FROM rows WHERE n <= {self.acknowledged}"  # noqa: S608 - own number
        )
        return int(highest), self.acknowledged - int(count)

    def _lose(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        time.sleep(PAUSE_S)

    def _finish(self) -> None:
        missing = None
        if self._session is not None:
            with suppress(OSError, Refused):
                _, missing = self._found(self._session)
        _say(event="end", acknowledged=self.acknowledged, missing=missing)


def _ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0]) and not sys.stdin.read(1)


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Writer(sys.argv[1], int(sys.argv[2])).run()
