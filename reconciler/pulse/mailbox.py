"""The poison-pill mailbox of one server on a heartbeat disk. `disk_path` keeps it in its thread.

What makes a pill a proof: this server writes down, for its boot, that its watchdog is armed with at
most W and is fed only while the mailbox was read, and empty, within the last `patience` seconds.
Whoever writes a pill and then waits longer than patience + W knows that this boot is over, whether
or not it could read the pill.
"""

import mmap
import os
import time

from reconciler.pulse.disk_layout import (
    BLOCK,
    pill_offset,
    promise_offset,
    read_note,
    write_note,
)


class Mailbox:
    """`boot_id` and `wanted_s` (the watchdog's time-out, 0: none is armed) are set by the loop;
    `promised_s`, `read_at` and `pill` by the thread, after the disk has answered."""

    def __init__(self, server: str, slot: int, patience: float) -> None:
        self._server, self._slot, self._patience = server, slot, patience
        self._buffer = mmap.mmap(-1, BLOCK)
        self._round = 0
        self.boot_id = ""
        self.wanted_s = 0
        self.promised_s = 0
        self.read_at: float | None = None
        self.pill = False
        self.retracting = False  # the watchdog is about to be disarmed in order

    def inherit(self, promised_s: int, read_at: float | None) -> None:
        """What an earlier pulse of this boot promised binds this one, until the disk has answered
        it: a disk that is dead still shows the promise to others."""
        if self.read_at is None and not self.promised_s:
            self.promised_s, self.read_at = promised_s, read_at

    def visit(self, descriptor: int) -> None:
        """One round: renew the promise, look for a pill. Raises `OSError`."""
        boot_id, wanted = self.boot_id, 0 if self.retracting else self.wanted_s
        if not boot_id:
            return
        self._round += 1
        note = {
            "server": self._server,
            "boot_id": boot_id,
            "watchdog_s": wanted,
            "patience_s": self._patience,
            "round": self._round,
        }
        # From the moment that it is written, somebody may count on it.
        self.promised_s = max(self.promised_s, wanted)
        self._buffer[:] = write_note(note)
        os.pwritev(descriptor, [self._buffer], promise_offset(self._slot))
        if not wanted:
            self.promised_s = 0
        at = time.monotonic()
        os.preadv(descriptor, [self._buffer], pill_offset(self._slot))
        found = read_note(self._buffer[:])
        if found is not None and found.get("boot_id") == boot_id:
            self.pill = True
        self.read_at = at

    def may_feed(self, now: float) -> bool:
        """False when this boot must end: a pill was found, or it is not known whether there is."""
        if self.pill:
            return False
        if not self.promised_s:
            return True
        return self.read_at is not None and now - self.read_at <= self._patience
