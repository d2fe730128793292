"""An ordinary process whose only work is to say that it still gets to run. `process` listens.

The pulse itself has real-time priority: it goes on when nothing else does, and would feed the
watchdog of a machine that serves nobody. The canary is forked from it with normal priority.
"""

import ctypes
import os
import signal
import time
from contextlib import suppress
from typing import NoReturn

BEAT_S = 0.5
_PR_SET_PDEATHSIG = 1
_HIGHEST_DESCRIPTOR = 4096


class Canary:
    """`watch` begins it; nothing is started before. Readable whenever it said something."""

    def __init__(self) -> None:
        self._limit = 0.0
        self._pid, self._pipe = 0, -1
        self._heard_at = float("inf")

    def fileno(self) -> int:
        return self._pipe

    @property
    def lives(self) -> bool:
        return self._pid > 0

    def watch(self, limit: float, now: float) -> None:
        """Ordinary processes must run at least once in `limit` seconds; 0 ends the canary."""
        if limit and not self._limit:
            self._heard_at = now
        self._limit = limit
        if not limit:
            self.close()

    def start(self) -> bool:
        """Start it when it is wanted and not there. False when it cannot be: then it counts as
        silent."""
        if not self._limit or self.lives:
            return self.lives
        try:
            self._pipe, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._pid = os.fork()
        except OSError:
            return False
        if self._pid == 0:
            _sing(theirs)
        os.close(theirs)
        return True

    def hear(self, now: float) -> None:
        """Read what it said; notices its end."""
        try:
            said = os.read(self._pipe, 4096)
        except BlockingIOError:
            return
        if said:
            self._heard_at = now
        else:
            self.close()

    def silent_for(self, now: float) -> float:
        """Seconds since an ordinary process was seen to run; 0 while that is not asked."""
        return max(0.0, now - self._heard_at) if self._limit else 0.0

    def is_stalled(self, now: float) -> bool:
        return self.silent_for(now) > self._limit > 0

    def close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self._pid, self._pipe = 0, -1


def _sing(pipe: int) -> NoReturn:
    """The child: holds nothing of its parent but the pipe, and ends with it."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.dup2(pipe, 3)
        os.closerange(4, _HIGHEST_DESCRIPTOR)
        while True:
            with suppress(BlockingIOError):
                os.write(3, b".")
            time.sleep(BEAT_S)
    finally:
        os._exit(0)
