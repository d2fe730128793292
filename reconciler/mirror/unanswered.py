"""Requests of the kernel that were not answered yet."""

from collections import deque
from collections.abc import Callable


class Unanswered:
    """`wait`: until the peer acknowledged a number. `hold`: not even begun, while suspended; data
    None is a flush."""

    def __init__(self, reply: Callable[[int, int], None]) -> None:
        self._reply = reply
        self._waiting: deque[tuple[int, int]] = deque()
        self._held: deque[tuple[int, int, bytes | None]] = deque()

    def __len__(self) -> int:
        """Those that wait for the peer."""
        return len(self._waiting)

    def wait(self, seq: int, token: int) -> None:
        self._waiting.append((seq, token))

    def hold(self, token: int, offset: int, data: bytes | None) -> None:
        self._held.append((token, offset, data))

    def acked(self, seq: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= seq:
            self._reply(waiting.popleft()[1], 0)

    def take_held(self) -> list[tuple[int, int, bytes | None]]:
        held, self._held = list(self._held), deque()
        return held

    def answer_waiting(self, error: int) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, token in waiting:
            self._reply(token, error)

    def answer_all(self, error: int) -> None:
        self.answer_waiting(error)
        for token, _, _ in self.take_held():
            self._reply(token, error)
