"""The watch of the in-memory store: the same promises as the etcd adapter's, on injected time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from reconciler.adapters.memory.faults import Faults
from reconciler.adapters.memory.state import Change, MemoryState, Watcher
from reconciler.ports.clock import Clock
from reconciler.ports.store import Compacted, Denied, Listing, StoreError, WatchBatch


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """Seconds. A sign of life each `progress_s`; `stale_after_s` without one is reported."""

    progress_s: float = 1.0
    stale_after_s: float = 2.0
    retry_s: float = 0.25


async def watch_state(
    state: MemoryState, clock: Clock, faults: Faults, prefix: str, timing: WatchTiming
) -> AsyncIterator[WatchBatch]:
    """First the whole prefix, then its changes; stale batches while `faults.watch_cut` says so."""
    watcher = state.subscribe(prefix)
    woken = watcher.woken
    known: dict[str, int] = {}
    seen: int | None = None
    alive_at = clock.now()
    told: str | None = None
    try:
        while True:
            woken.clear()
            reason = await _obstacle(clock, faults, prefix, first=seen is None)
            if reason is not None:
                if reason != told and (seen is None or _stale(clock, alive_at, timing)):
                    told = reason
                    yield WatchBatch(seen or 0, stale_reason=reason)
                watcher.changed = True  # it was cut off: what happened meanwhile is to be asked for
                await clock.sleep(timing.retry_s)
                continue
            seen, changes, listed = _advance(state, watcher, seen, known)
            # What is on its way for long is old when it arrives.
            delay = faults.watch_delay_s(prefix)
            if delay > 0:
                await clock.sleep(delay)
            alive_at, told = clock.now(), None
            yield WatchBatch(seen, changes, listed=listed)
            if not watcher.changed:
                await _wait(woken, clock, timing.progress_s)
    finally:
        state.unsubscribe(watcher)


def _stale(clock: Clock, alive_at: float, timing: WatchTiming) -> bool:
    return clock.now() - alive_at >= timing.stale_after_s


async def _obstacle(clock: Clock, faults: Faults, prefix: str, *, first: bool) -> str | None:
    """Why nothing comes through now; the first listing can also be refused like any call."""
    if first:
        fate = faults.fate("list", prefix)
        if isinstance(fate.error, Denied):
            raise fate.error
        if fate.error is not None or fate.lost or fate.reply_lost:
            return _text(fate.error)
        await clock.sleep(fate.request_s + fate.reply_s)
    return faults.watch_cut(prefix)


def _text(error: StoreError | None) -> str:
    return str(error) if error else "no answer"


def _advance(
    state: MemoryState, watcher: Watcher, seen: int | None, known: dict[str, int]
) -> tuple[int, tuple[Change, ...], bool]:
    """Move on to the present; `known` (key -> mod_revision) is kept up to date. The last item says
    that the changes are a listing's difference."""
    state.expire_leases()
    changed, watcher.changed = watcher.changed, False
    listed = seen is None
    revision = state.revision
    changes: tuple[Change, ...] = ()
    if seen is not None and changed:
        try:
            revision, changes = state.changes_since(seen, watcher.prefix)
        except Compacted:
            listed = True
    if listed:
        revision, changes = _relist(state.list(watcher.prefix), known)
    for key, stored in changes:
        if stored is None:
            known.pop(key, None)
        else:
            known[key] = stored.mod_revision
    return revision, changes, listed


def _relist(listing: Listing, known: dict[str, int]) -> tuple[int, tuple[Change, ...]]:
    """The synthetic difference of a listing to what was known, deletions first."""
    present = {item.key for item in listing.items}
    gone: list[Change] = [(key, None) for key in sorted(known) if key not in present]
    fresh: list[Change] = [
        (item.key, item) for item in listing.items if known.get(item.key) != item.mod_revision
    ]
    return listing.revision, tuple(gone + fresh)


async def _wait(woken: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Until `woken` is set; when the time is over, this sets it."""
    forget = clock.after(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        forget()
