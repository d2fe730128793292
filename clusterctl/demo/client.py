"""A client that asks an HTTP address every 5 ms and reports each time it was not answered.

`python3 -S client.py ADDRESS PORT [GAP_MS]`, standard library only: it runs in the lab's client.
Prints one JSON line per outage longer than GAP_MS (50), when it ends, and {"event": "ready"} at the
first answer.
"""

import json
import selectors
import socket
import sys
import time
from typing import Any

EVERY_S = 0.005
GIVE_UP_S = 0.3
GAP_S = 0.05


class Client:
    """Many short connections at once: a hanging one never hides that the next is answered."""

    def __init__(self, address: str, port: int, gap_s: float = GAP_S) -> None:
        self._target, self._gap_s = (address, port), gap_s
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, float] = {}
        self._read: dict[socket.socket, bytes] = {}
        self._last: tuple[float, str] | None = None

    def run(self) -> None:
        """Until standard input ends: a signal would not reach it through the lab's namespaces."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, "end")
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                self._ask(now)
                due = max(due + EVERY_S, now)
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                if key.data == "end":
                    return
                self._advance(key.fileobj, key.data)
            self._give_up(time.monotonic())

    def _ask(self, now: float) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect_ex(self._target)
            self._selector.register(sock, selectors.EVENT_WRITE, "connecting")
            self._open[sock] = now
        except OSError:
            sock.close()

    def _advance(self, sock: Any, state: str) -> None:
        try:
            if state == "connecting":
                sock.send(b"GET / HTTP/1.0\r\n\r\n")
                self._selector.modify(sock, selectors.EVENT_READ, "asked")
                return
            data = sock.recv(4096)
        except OSError:
            data = b""
        answer = self._read.pop(sock, b"") + data
        name = answer.partition(b"\r\n\r\n")[2].strip()
        if data and not name:
            self._read[sock] = answer
            return
        if name and b"200" in answer.split(b"\r\n", 1)[0]:
            self._answered(name.decode(errors="replace"))
        self._close(sock)

    def _answered(self, by: str) -> None:
        now = time.monotonic()
        if self._last is None:
            self._say(event="ready", by=by)
        elif now - self._last[0] > self._gap_s:
            ended = time.time()
            missed = now - self._last[0]
            self._say(
                event="outage",
                ms=round(missed * 1000, 1),
                began=ended - missed,
                ended=ended,
                before=self._last[1],
                after=by,
            )
        self._last = (now, by)

    def _say(self, **fields: object) -> None:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()

    def _give_up(self, now: float) -> None:
        for sock in [s for s, since in self._open.items() if now - since > GIVE_UP_S]:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self._open.pop(sock, None)
        self._read.pop(sock, None)
        self._selector.unregister(sock)
        sock.close()


if __name__ == "__main__":
    gap_s = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else GAP_S
    Client(sys.argv[1], int(sys.argv[2]), gap_s).run()
