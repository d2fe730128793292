"""One operation on a fence device in a thread of its own. Types whose libraries block use it.

The thread is a daemon, because a device that never answers must hold up neither the agent nor its
exit.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from reconciler.ports.power import FenceError

_Result = TypeVar("_Result")


class Attempt:
    """One operation in its thread. `deadline`: CLOCK_MONOTONIC seconds. `fail` tells the caller at
    once, before the thread tidies up."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.fail: Callable[[FenceError], None] = lambda _: None
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """The caller is gone: no command may leave from now on."""
        self._abandoned.set()

    def check(self) -> None:
        """Raises `FenceError` when the operation has no time left or nobody waits for it."""
        if self._abandoned.is_set() or self.remaining() <= 0:
            raise FenceError("the time for this operation is over")

    def remaining(self) -> float:
        return self.deadline - time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait, but never beyond the deadline."""
        self._abandoned.wait(max(0.0, min(seconds, self.remaining())))


async def in_thread(
    work: Callable[[Attempt, Callable[[_Result], None]], None], timeout_s: float, name: str
) -> _Result:
    """Run `work(attempt, deliver)` in a daemon thread; returns what it delivers.

    After delivering, the thread may go on (closing its session) without holding up the caller.
    Raises `FenceError` at the time-out; the thread is left behind and can send no command any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()
    attempt = Attempt(time.monotonic() + timeout_s)

    def resolve(result: _Result | None, error: Exception | None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    attempt.fail = lambda error: resolve(None, error)

    def body() -> None:
        try:
            work(attempt, lambda result: resolve(result, None))
        except FenceError as error:
            resolve(None, error)
        except Exception as error:  # noqa: BLE001 - the port promises FenceError only
            resolve(None, FenceError(f"{name}: {type(error).__name__}: {error}"))

    threading.Thread(target=body, name=name, daemon=True).start()
    try:
        return await asyncio.wait_for(future, timeout_s)
    except TimeoutError:
        raise FenceError(f"{name} did not finish within {timeout_s:g} s") from None
    finally:
        attempt.abandon()
