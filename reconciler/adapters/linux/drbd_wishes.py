"""What operators may ask of a mirror with DRBD, in the words of our own engine
(`reconciler.mirror.commands`). Called by `drbd`, with the mirror locked.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.adapters.linux.drbd_side import DrbdSide
from reconciler.drbd import comparison
from reconciler.drbd.comparison import Comparison
from reconciler.drbd.state import State
from reconciler.ports.host import HostError

_SERVES = "this side serves: ask the other one"


@dataclass(frozen=True, slots=True)
class Wish:
    side: DrbdSide
    state: State
    request: Mapping[str, Any]

    def confirmed(self) -> None:
        if self.request.get("confirm") != self.side.name:
            raise HostError("the resource's name must be repeated in 'confirm'")


async def carry_out(side: DrbdSide, state: State, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises `HostError` for what is not possible, or not offered."""
    what = str(request.get("do"))
    if what not in _WISHES:
        raise HostError(f"engine drbd does not offer {what!r}")
    return await _WISHES[what](Wish(side, state, request)) or {}


async def _verify(wish: Wish) -> None:
    if reason := comparison.why_not(wish.state):
        raise HostError(reason)
    generation = (await wish.side.generations()).current
    # From the first block, also after a run that was interrupted.
    await wish.side.admin("--", "--start=0", "verify")
    repair = wish.request.get("do") == "resync"
    begun = Comparison(str(wish.request.get("id", "")), generation, repair)
    wish.side.note(check=begun.to_json())


async def _resync(wish: Wish) -> None:
    how = wish.request.get("how", "full")
    if how == "difference":
        if wish.state.connection == "StandAlone":
            await wish.side.admin("connect")
        return
    if how == "checksum":
        await _verify(wish)
        return
    if not wish.state.serves:
        raise HostError("this side does not serve: ask the other one")
    if not wish.state.connected:
        raise HostError("the other side is not connected")
    # The other side is no candidate from then on, and knows it: the record follows.
    await wish.side.admin("invalidate-remote")


async def _discard(wish: Wish) -> None:
    if wish.state.serves:
        raise HostError("this side serves: its data cannot be given up")
    wish.confirmed()
    wish.side.split.unlink(missing_ok=True)
    if wish.state.connection != "StandAlone":
        await wish.side.part()
    await wish.side.admin("connect", "--discard-my-data")


async def _accept(wish: Wish) -> Mapping[str, Any]:
    if wish.state.serves:
        raise HostError("this side serves already")
    wish.confirmed()
    if wish.state.disk not in ("UpToDate", "Consistent"):
        raise HostError(f"DRBD calls this side {wish.state.disk}: it would not serve it")
    wish.side.note(isolated=False)
    return {"generation": (await wish.side.generations()).current}


async def _isolate(wish: Wish) -> None:
    if wish.state.serves:
        raise HostError(_SERVES)
    until = time.time() + float(wish.request["seconds"])
    wish.side.note(isolated=True, isolated_until=until)
    if wish.state.connection != "StandAlone":
        await wish.side.part()


async def _rejoin(wish: Wish) -> None:
    wish.side.note(isolated=False)
    if wish.state.connection == "StandAlone":
        await wish.side.admin("connect")


_WISHES: Mapping[str, Callable[[Wish], Awaitable[Mapping[str, Any] | None]]] = {
    "verify": _verify,
    "resync": _resync,
    "discard": _discard,
    "accept": _accept,
    "isolate": _isolate,
    "rejoin": _rejoin,
}
