"""The attempts of one call against a `MemoryState`: who arrives, who answers, what the caller sees.

Used by `MemoryStore` only.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from reconciler.adapters.memory.faults import Fate
from reconciler.adapters.memory.state import MemoryState
from reconciler.ports.clock import Clock
from reconciler.ports.store import StoreError

T = TypeVar("T")


class Race(Generic[T]):
    """First conclusive answer wins; the others still act on the state.

    An answer that is not `conclusive` is held back while other attempts are under way, because one
    of them may still change it.
    """

    def __init__(
        self, act: Callable[[], T], conclusive: Callable[[T], bool] = lambda _result: True
    ) -> None:
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.launched = 0
        self.held_back = False
        self._answered = 0
        self._act = act
        self._conclusive = conclusive

    def launch(self, fate: Fate, state: MemoryState) -> None:
        self.launched += 1
        if fate.lost:
            return
        if fate.request_s <= 0:
            self._arrive(fate, state)
        else:
            state.later(fate.request_s, partial(self._arrive, fate, state))

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Until the answer is there or `seconds` of the caller's clock have passed."""
        if self.answer.done():
            return
        either = asyncio.get_running_loop().create_future()

        def end(_: object = None) -> None:
            if not either.done():
                either.set_result(None)

        forget = clock.after(seconds, end)
        self.answer.add_done_callback(end)
        try:
            await either
        finally:
            forget()
            self.answer.remove_done_callback(end)

    def _arrive(self, fate: Fate, state: MemoryState) -> None:
        tell: Callable[[], None]
        try:
            tell = partial(self._settle, self._act())
        except StoreError as error:
            tell = partial(self._refuse, error)
        if not fate.reply_lost:
            self._reply(fate, state, tell)

    def _reply(self, fate: Fate, state: MemoryState, tell: Callable[[], None]) -> None:
        if fate.reply_s <= 0:
            tell()
        else:
            state.later(fate.reply_s, tell)

    def _settle(self, result: T) -> None:
        self._answered += 1
        if self.answer.done():
            return
        if self._conclusive(result) or self._answered == self.launched:
            self.answer.set_result(result)
        else:
            self.held_back = True

    def _refuse(self, error: StoreError) -> None:
        self._answered += 1
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # marks it as seen: the caller may have left
