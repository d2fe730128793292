"""The poll of the engine: every descriptor has the function that is called when it is ready."""

import select
import time
from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
Handler = Callable[[int], None]
"""Called with the events (`READ`, `WRITE`, or another one for an error)."""


class Poll:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def register(self, fd: int, handler: Handler, events: int = READ) -> None:
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Raises `OSError` or `ValueError` when it is not registered."""
        self._handlers.pop(fd, None)
        self._epoll.unregister(fd)

    def wait(self, timeout_s: float, active_s: float = 0.0) -> list[tuple[int, int]]:
        """(descriptor, events) of what is ready, for `dispatch`. `active_s`: it sleeps only after
        so many seconds, for waking up takes longer than a short answer does."""
        if active_s:
            end = time.monotonic() + active_s
            while time.monotonic() < end:
                ready = self._epoll.poll(0)
                if ready:
                    return ready
        return self._epoll.poll(timeout_s)

    def dispatch(self, ready: list[tuple[int, int]]) -> None:
        for fd, events in ready:
            handler = self._handlers.get(fd)
            if handler is not None:  # else it was closed by one of those before it
                handler(events)
