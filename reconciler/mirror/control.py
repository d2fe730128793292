"""The engine's unix socket: one JSON object a line, in both directions.

Requests carry `do`; the answer to each is one line, in order, with `ok`. A client that sends
`{"do": "attend"}` is the agent from then on: it gets questions, and a line at each change:

    {"ask": "alone" | "both", "number": N, "generation": ID, "epoch": E}
    {"changed": {...status...}}

and answers a question with `{"do": "answer", "number": N, "refusal": null | "why not"}`. A question
stays until it is answered; the next agent that attends gets it again. With `"only": "changes"` a
client gets the changes alone.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reconciler.mirror.polling import Poll

_LIMIT = 1 << 20
Answer = Callable[[dict[str, Any]], None]
Do = Callable[[dict[str, Any], Answer], None]


class Client:
    """One connection to the control socket: lines of JSON in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""
        self.watches = self.attends = False

    def tell(self, line: dict[str, Any]) -> None:
        """Best effort: a client that does not read is dropped by its own end."""
        with suppress(OSError):
            self.socket.send(json.dumps(line).encode() + b"\n")


class Control:
    """`do` is called for each request, with where its answer goes."""

    def __init__(self, path: str, poll: Poll, do: Do) -> None:
        self._path, self._poll, self._do = path, poll, do
        self.clients: dict[int, Client] = {}
        self._question: dict[str, Any] | None = None
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:
            # a socket's path may have 107 characters only, the directory may have more
            self._listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
        os.chmod(path, 0o600)
        self._listener.listen(16)
        self._listener.setblocking(False)
        self.fd = self._listener.fileno()
        poll.register(self.fd, self._accept)

    def _accept(self, _: int) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            fd = connection.fileno()
            self.clients[fd] = Client(connection)
            self._poll.register(fd, lambda _: self._readable(fd))

    def _readable(self, fd: int) -> None:
        client = self.clients[fd]
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data or len(client.received) > _LIMIT:
            self._poll.unregister(fd)
            client.socket.close()
            del self.clients[fd]
            return
        *lines, client.received = client.received.split(b"\n")
        for line in lines:
            self._line(client, line)

    def _line(self, client: Client, line: bytes) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as error:
            client.tell({"ok": False, "error": f"not a request: {error}"})
            return
        if request.get("do") == "attend":
            client.watches, client.attends = True, request.get("only") != "changes"
            client.tell({"ok": True})
            if self._question is not None and client.attends:
                client.tell(self._question)
            return
        question = self._question
        if request.get("do") == "answer" and question is not None:
            self._question = None if request.get("number") == question["number"] else question
        try:
            self._do(request, client.tell)
        except (KeyError, TypeError, ValueError) as error:
            client.tell({"ok": False, "error": f"{type(error).__name__}: {error}"})

    def ask(self, question: dict[str, Any]) -> None:
        """Of the agent; a younger question takes the place of an older one."""
        self._question = question
        for client in self.clients.values():
            if client.attends:
                client.tell(question)

    def withdraw(self) -> None:
        self._question = None

    def changed(self, status: dict[str, Any]) -> None:
        for client in self.clients.values():
            if client.watches:
                client.tell({"changed": status})

    def close(self) -> None:
        for client in self.clients.values():
            client.socket.close()
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)
