"""The pulse's end of the link to the agent: unix SOCK_SEQPACKET, one JSON object a message.

Agent to pulse: `configure`, `report`, `register-kill`, `watchdog` (with the device's descriptor),
`hold`, `stop`.
Pulse to agent: `hello` on connect, `view` at each transition and at least every 200 ms,
`configured`/`refused` as answers. Views are whole, so one that an agent is too slow to take is
dropped and the next one repeats everything; nothing here ever waits for an agent.
"""

import fcntl
import json
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE = 256 * 1024
_MAX_AGENTS = 8
_MAX_DESCRIPTORS = 4


class AlreadyRunning(Exception):
    """Another pulse holds this socket."""


class Connection:
    """One connected agent."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.closed = False

    def fileno(self) -> int:
        return self.sock.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """All messages that wait; marks the connection closed at its end. Descriptors that came
        with a message are in its `_descriptors`, and are the caller's."""
        messages: list[dict[str, Any]] = []
        while not self.closed:
            try:
                raw, descriptors, _, _ = socket.recv_fds(self.sock, MAX_MESSAGE, _MAX_DESCRIPTORS)
            except BlockingIOError:
                break
            except OSError:
                self.closed = True
                break
            if not raw:
                self.closed = True
                break
            messages.append({**_decode(raw), "_descriptors": descriptors})
        return messages

    def send(self, message: Mapping[str, Any], descriptor: int | None = None) -> bool:
        """Send or drop; false when it was dropped."""
        data = json.dumps(message, separators=(",", ":")).encode()
        try:
            if descriptor is None:
                self.sock.send(data)
            else:
                socket.send_fds(self.sock, [data], [descriptor])
        except BlockingIOError:
            return False
        except OSError:
            self.closed = True
            return False
        return True

    def close(self) -> None:
        self.closed = True
        self.sock.close()


class LinkServer:
    """Listens on `path` (mode 0600); a lock file beside it keeps a second pulse away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise AlreadyRunning(path) from None
        os.truncate(self._lock, 0)
        os.write(self._lock, b"%d" % os.getpid())  # for an agent that finds us hanging
        if os.path.lexists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mask = os.umask(0o177)
        try:
            self._listener.bind(path)
        finally:
            os.umask(mask)
        self._listener.listen(_MAX_AGENTS)
        self._listener.setblocking(False)
        self._identity = _identity(path)
        self.connections: list[Connection] = []

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> Connection | None:
        """The next agent that connects; strangers (neither root nor our own user) are refused."""
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return None
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("=iII", raw)
        if uid not in (0, os.geteuid()) or len(self.connections) >= _MAX_AGENTS:
            sock.close()
            return None
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
        connection = Connection(sock)
        self.connections.append(connection)
        return connection

    def is_reachable(self) -> bool:
        """False once our socket file was removed or replaced: no agent can find us any more."""
        return _identity(self._path) == self._identity

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._listener.close()
        if self.is_reachable():
            os.unlink(self._path)
        os.close(self._lock)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        message = json.loads(raw)
    except ValueError:
        return {"op": "malformed"}
    return message if isinstance(message, dict) else {"op": "malformed"}
