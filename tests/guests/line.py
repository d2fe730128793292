"""Objects as JSON lines to and from a guest, over one of its virtio ports."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Line:
    """The host's end. `heard` is called for each object that arrives, in a thread of its own."""

    def __init__(self, opened: socket.socket, heard: Callable[[dict[str, Any]], None]) -> None:
        self._socket, self._heard, self._lock = opened, heard, threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @classmethod
    def to(cls, path: Path, heard: Callable[[dict[str, Any]], None]) -> "Line | None":
        """None when nobody listens there yet."""
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.connect(str(path))
        except OSError:
            opened.close()
            return None
        return cls(opened, heard)

    def send(self, content: dict[str, Any]) -> None:
        with self._lock:
            self._socket.sendall(json.dumps(content).encode() + b"\n")

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        rest = b""
        while got := self._received():
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                self._heard(json.loads(line))

    def _received(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""
