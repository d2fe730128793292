"""`ports.events.Events`: the log, the local append-only file, and a queue for the store.

`emit` never blocks and never raises; `publish` is the task that empties the queue.
"""

import asyncio
import json
import logging
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from reconciler.decide.keys import Keys
from reconciler.decide.records import EventRecord
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.events import Severity, is_retried, severity_of
from reconciler.ports.clock import Clock
from reconciler.ports.store import LeaseLost, Put, Store, StoreError, Transaction

KEEP_IN_STORE_S = 24 * 3600.0
LEASE_FOR_S = 3600.0
QUEUE_LIMIT = 2000
BATCH = 50
FILE_LIMIT_BYTES = 16 * 1024 * 1024
LOG_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}
# Names that a log line has already, and what an event's own field is called there instead.
LINE_NAMES = {"server": "about", "level": "fence_level", "event": "about_event"}
RETRIED_EVERY_S = 30.0
WHOM = ("group", "resource", "server", "key", "monitor")
SECRET_WORDS = ("password", "secret", "token", "cluster_key")


class Journal:
    """One agent's events. When the queue is full the oldest wait no longer: the file has them."""

    def __init__(self, server: str, keys: Keys, clock: Clock, path: Path) -> None:
        self._server, self._keys, self._clock, self._path = server, keys, clock, path
        self._queue: deque[EventRecord] = deque(maxlen=QUEUE_LIMIT)
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("reconciler").bind(server=server)
        self._lease, self._lease_until = 0, float("-inf")
        # Per retried event and whom it is about: when it was told last, how often left out since.
        self._told: dict[tuple[object, ...], tuple[float, int]] = {}

    def emit(self, name: str, /, **fields: Any) -> None:
        if is_retried(name):
            left_out = self._left_out(name, fields)
            if left_out is None:
                return
            fields |= {"repeated": left_out} if left_out else {}
        safe = {k: v for k, v in fields.items() if not any(w in k.lower() for w in SECRET_WORDS)}
        about = {LINE_NAMES.get(k, k): v for k, v in safe.items()}
        self._log.log(LOG_LEVELS[severity_of(name)], name, **about)
        wall = self._clock.wall()
        record = EventRecord(
            id=ulid(wall, os.urandom(RANDOM_BYTES)),
            name=name,
            server=self._server,
            at_wall=wall,
            fields=json.loads(json.dumps(safe, default=str)),
        )
        self._append(record)
        self._queue.append(record)
        self._wake.set()

    def _left_out(self, name: str, fields: Mapping[str, Any]) -> int | None:
        """How many like it were left out since the last that was told; None: leave it out too. A
        store that is away for an hour must not push what it began with out of the queue."""
        like = (name, *(fields.get(word) for word in WHOM))
        now = self._clock.now()
        told_at, left_out = self._told.get(like, (float("-inf"), 0))
        if now - told_at < RETRIED_EVERY_S:
            self._told[like] = (told_at, left_out + 1)
            return None
        self._told[like] = (now, 0)
        return left_out

    def _append(self, record: EventRecord) -> None:
        line = record.to_bytes() + b"\n"
        try:
            if self._path.exists() and self._path.stat().st_size > FILE_LIMIT_BYTES:
                self._path.replace(self._path.with_suffix(".1.jsonl"))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            # A full disk must not stop a failover; the log and the store still get the event.
            self._log.warning("event_not_filed", error=str(error))

    async def publish(self, store: Store) -> None:
        """For ever: batches to the store under a lease that ends by itself."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
                try:
                    await self._write(store, batch)
                except StoreError as error:
                    if isinstance(error, LeaseLost):
                        self._lease_until = float("-inf")
                    self._log.warning("events_not_stored", error=str(error))
                    await self._clock.sleep(1.0)
                    continue
                for record in batch:
                    if self._queue and self._queue[0] is record:
                        self._queue.popleft()

    async def _write(self, store: Store, batch: list[EventRecord]) -> None:
        now = self._clock.now()
        if now >= self._lease_until:
            proof = await store.grant(KEEP_IN_STORE_S)
            self._lease, self._lease_until = proof.lease, now + LEASE_FOR_S
        puts = tuple(Put(self._keys.event(r.id), r.to_bytes(), self._lease) for r in batch)
        await store.commit(Transaction((), puts))
