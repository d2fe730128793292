"""The watch: one stream per prefix that survives members, leaders, compaction and silence.

Used by `EtcdStore.watch`. One state machine for ever: list, stream from the next revision; after
any end of the stream resume on the next member; after a compaction, and from time to time anyway,
list again and report the difference to what was known.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from reconciler.adapters.etcd.endpoints import Endpoint, Endpoints, Watermark
from reconciler.adapters.etcd.failure import AttemptFailed, Kind
from reconciler.adapters.etcd.wire import WatchAnswer, WatchStream
from reconciler.ports.store import Denied, KeyValue, Listing, StoreError, WatchBatch

Change = tuple[str, KeyValue | None]
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 1.0
_END_S = 1.0
_JITTER = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class WatchTiming:
    """Seconds. After `progress_s` of silence a sign of life is asked for; a stream that was silent
    for `stale_after_s` is given up. `relist_s` is the distance of the full listings."""

    progress_s: float = 0.5
    stale_after_s: float = 2.0
    relist_s: float = 600.0


class _ListAgain(Exception):
    """The stream cannot or shall not go on from its revision."""


class Watch:
    """`read_prefix` is the store's own listing. Iterate `batches` once."""

    def __init__(
        self,
        prefix: str,
        endpoints: Endpoints,
        watermark: Watermark,
        read_prefix: Callable[[str], Awaitable[Listing]],
        timing: WatchTiming,
    ) -> None:
        self._prefix = prefix
        self._endpoints = endpoints
        self._watermark = watermark
        self._read_prefix = read_prefix
        self._timing = timing
        self._known: dict[str, int] = {}
        self._revision = 0
        self._relist_at = 0.0
        self._backoff_s = _FIRST_BACKOFF_S

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        """See `WatchBatch`; raises `Denied` when the prefix may not be read."""
        listed = False
        while not self._endpoints.is_closed:
            try:
                if not listed:
                    yield await self._list()
                    listed = True
                async with aclosing(self._stream()) as stream:
                    async for batch in stream:
                        self._backoff_s = _FIRST_BACKOFF_S
                        yield batch
            except _ListAgain:
                listed = False
            except Denied:
                raise
            except (AttemptFailed, StoreError) as failure:
                if self._endpoints.is_closed:
                    return
                yield WatchBatch(self._revision, stale_reason=str(failure))
                await asyncio.sleep(self._backoff_s * _JITTER.uniform(0.5, 1.5))
                self._backoff_s = min(self._backoff_s * 2, _LAST_BACKOFF_S)

    async def _list(self) -> WatchBatch:
        """The whole prefix as a difference to what is known: the first time that is everything."""
        listing = await self._read_prefix(self._prefix)
        present = {item.key: item.mod_revision for item in listing.items}
        gone: list[Change] = [(key, None) for key in sorted(self._known) if key not in present]
        fresh: list[Change] = [
            (item.key, item)
            for item in listing.items
            if self._known.get(item.key) != item.mod_revision
        ]
        self._known = present
        self._revision = listing.revision
        pause = self._timing.relist_s * _JITTER.uniform(0.9, 1.1)
        self._relist_at = asyncio.get_running_loop().time() + pause
        return WatchBatch(listing.revision, tuple(gone + fresh), listed=True)

    async def _stream(self) -> AsyncGenerator[WatchBatch, None]:
        """Batches of one stream; ends by `AttemptFailed`, `_ListAgain` or `Denied` only."""
        endpoint = self._endpoints.in_order()[0]
        try:
            stream = endpoint.wire().watch(self._prefix, self._revision + 1)
            reader: asyncio.Task[WatchAnswer] | None = None
            try:
                await self._within(stream.open())
                while True:
                    reader = reader or asyncio.ensure_future(stream.read())
                    await self._until_heard(stream, reader, endpoint)
                    answer, reader = reader.result(), None
                    yield self._accept(answer)
            finally:
                stream.cancel()
                if reader is not None:
                    await _end(reader)
        except AttemptFailed as failure:
            self._judge(failure, endpoint)
            raise

    async def _until_heard(
        self, stream: WatchStream, reader: "asyncio.Task[WatchAnswer]", endpoint: Endpoint
    ) -> None:
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        while True:
            if loop.time() >= self._relist_at:
                raise _ListAgain
            await asyncio.wait({reader}, timeout=self._timing.progress_s)
            if reader.done():
                return
            silent_s = loop.time() - silent_since
            if silent_s >= self._patience_s(endpoint):
                raise AttemptFailed(Kind.UNKNOWN, f"silent for {silent_s:.1f} s")
            await self._within(stream.ask_progress())

    def _patience_s(self, endpoint: Endpoint) -> float:
        # Other calls found this member wanting: one unanswered question is enough.
        hurried = 2 * self._timing.progress_s
        return hurried if endpoint.down_since is not None else self._timing.stale_after_s

    async def _within(self, write: Awaitable[None]) -> None:
        try:
            await asyncio.wait_for(write, self._timing.stale_after_s)
        except TimeoutError:
            raise AttemptFailed(Kind.UNKNOWN, "the member takes no requests") from None

    def _accept(self, answer: WatchAnswer) -> WatchBatch:
        """Raises when the answer ends the stream."""
        self._watermark.same_cluster(answer.header)
        if answer.compact_revision:
            raise _ListAgain
        if answer.canceled:
            # A refused watch is created and cancelled in one answer: it would stay silent.
            if "permission denied" in answer.cancel_reason:
                raise AttemptFailed(Kind.DENIED, answer.cancel_reason)
            raise AttemptFailed(Kind.UNKNOWN, answer.cancel_reason or "cancelled by the member")
        changes: list[Change] = []
        for revision, key, stored in answer.changes:
            if revision <= self._revision:
                continue  # known already
            changes.append((key, stored))
            if stored is None:
                self._known.pop(key, None)
            else:
                self._known[key] = stored.mod_revision
        # Only events move the resume point: etcd before 3.4.25 may answer a progress request with
        # a revision whose events it has not sent yet.
        if changes:
            self._revision = max(self._revision, answer.changes[-1][0])
        return WatchBatch(self._revision, tuple(changes))

    def _judge(self, failure: AttemptFailed, endpoint: Endpoint) -> None:
        if failure.kind is Kind.DENIED:
            raise Denied(f"watch {self._prefix}: {failure}") from None
        if failure.kind is Kind.COMPACTED:
            raise _ListAgain from None
        if failure.is_member_away:
            self._endpoints.put_last(endpoint)


async def _end(reader: "asyncio.Task[WatchAnswer]") -> None:
    """Its stream was cancelled, so it ends at once; if not, nobody waits for it."""
    reader.add_done_callback(_see)
    ended, _ = await asyncio.wait({reader}, timeout=_END_S)
    if not ended:
        reader.cancel()


def _see(reader: "asyncio.Task[WatchAnswer]") -> None:
    """Mark a reader's failure as seen: its stream is over already."""
    if not reader.cancelled():
        reader.exception()
