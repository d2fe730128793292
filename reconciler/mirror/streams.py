"""The bytes of a connection, plain or encrypted with the cluster's certificates, for `channel`.

Neither blocks: `BlockingIOError` means that nothing can be done now.
"""

import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

Parts = Sequence[bytes | memoryview]


class Stream(Protocol):
    """`one_piece`: what could not be sent must be given again as it was, not in other pieces."""

    one_piece: bool

    def fileno(self) -> int: ...

    def shake_hands(self) -> bool:
        """True once data can be sent and received; call again when the descriptor is ready. Raises
        `OSError`."""
        ...

    def send(self, parts: Parts) -> int:
        """How many of the first bytes were taken. Raises `OSError`."""
        ...

    def receive(self, room: memoryview) -> int:
        """0 at the end of the stream. Raises `OSError`."""
        ...

    def has_more(self) -> bool:
        """Something was received already that `receive` did not give yet."""
        ...

    def close(self) -> None: ...


class Plain:
    """A TCP connection as it is: what `Encrypted` is for TLS."""

    one_piece = False

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.send = connection.sendmsg
        self.receive = connection.recv_into
        self.fileno, self.close = connection.fileno, connection.close

    def shake_hands(self) -> bool:
        return True

    def has_more(self) -> bool:
        return False


class Encrypted:
    """TLS 1.3; both sides show a certificate of the cluster's authority. The addresses say nothing:
    the key of the mirror, which both prove to have, says whose mirror it is."""

    one_piece = True

    def __init__(self, connection: socket.socket, pki: Path, *, serves: bool) -> None:
        """`serves`: it accepted the connection. `pki` has ca.crt, server.crt and server.key, read
        at each connection. Raises `OSError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki / "ca.crt")
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        connection.setblocking(False)
        self._socket = context.wrap_socket(
            connection, server_side=serves, do_handshake_on_connect=False
        )
        self._lock = threading.Lock()  # a sign of life comes from another thread

    def fileno(self) -> int:
        return self._socket.fileno()

    def shake_hands(self) -> bool:
        try:
            self._socket.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def send(self, parts: Parts) -> int:
        data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        done = 0
        with self._lock:
            while done < len(data):
                try:
                    done += self._socket.send(data[done:])
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    break
        if not done:
            raise BlockingIOError
        return done

    def receive(self, room: memoryview) -> int:
        with self._lock:
            try:
                return self._socket.recv_into(room)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None

    def has_more(self) -> bool:
        return self._socket.pending() > 0

    def close(self) -> None:
        self._socket.close()


def stream_of(connection: socket.socket, pki: str, *, serves: bool) -> Stream:
    """`pki` as in `Settings`; raises `OSError`."""
    return Encrypted(connection, Path(pki), serves=serves) if pki else Plain(connection)
