"""Whether the watchdog may be fed, and what must be true before it is armed or let go: it answers
for the kill list and for what the mailboxes promise. `process` calls it.
"""

import math
from collections.abc import Callable
from typing import Any

from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.paths import Paths
from reconciler.pulse.watch import DeadMan
from reconciler.pulse.watchdog import Watchdog

_RETRACT_S = 1.0

Log = Callable[..., None]
"""(event, **fields)."""


class Feeding:
    """`boot_id` is set by `process` when it is configured."""

    def __init__(self, dead_man: DeadMan, watchdog: Watchdog, paths: Paths, log: Log) -> None:
        self._dead_man, self._watchdog, self._paths = dead_man, watchdog, paths
        self._log = log
        self.boot_id = ""

    def feed(self, now: float) -> None:
        """At each tick, after the dead-man has judged."""
        if self._nothing_is_left(now) and self._watchdog.timeout:
            self._watchdog.feed(now)

    def _nothing_is_left(self, now: float) -> bool:
        """Whether a watchdog may be fed. Also tells the mailboxes what is armed, and ends
        everything when one holds a pill."""
        fed = self._dead_man.may_feed()
        boxes = dict(self._paths.mailboxes())
        # A promise of this boot on a disk that is not read here any more is not kept.
        fed = fed and self._dead_man.promises.keys() <= boxes.keys()
        for name, mailbox in boxes.items():
            self._promise(name, mailbox, self._watchdog.timeout, now)
            mailbox.boot_id = self.boot_id
            if mailbox.pill and not self._dead_man.condemned:
                self._log("poison_pill_found")
                self._dead_man.condemn(now)
            fed = fed and mailbox.may_feed(now)
        return fed

    def _promise(self, name: str, mailbox: Mailbox, seconds: int, now: float) -> None:
        """The disk shall say so, once it has answered; a pulse after us must know of it before."""
        mailbox.inherit(*self._dead_man.promises.get(name, (0, None)))
        wanted = max(mailbox.wanted_s, seconds)
        if mailbox.read_at is not None and wanted:
            self._dead_man.promise(name, wanted, mailbox.read_at, now)
            mailbox.wanted_s = wanted

    def arm(self, message: dict[str, Any], descriptors: list[int], now: float) -> dict[str, Any]:
        """The agent repeats itself, so this must not feed what is to bite: `settled` is false when
        the time-out could not be set for that. Raises `ValueError` and what a message without its
        parts raises."""
        seconds, stall = float(message["timeout"]), float(message.get("stall", 0.0))
        self._refuse_unpromised(seconds, now)
        before, may_feed = self._watchdog.timeout, self._nothing_is_left(now)
        settled = self._watchdog.take(descriptors.pop(), seconds, now, stall, may_feed=may_feed)
        armed = self._watchdog.timeout
        if armed != before:
            self._log("watchdog_armed", timeout=armed)
        return {"op": "watchdog-armed", "timeout": armed, "asked": seconds, "settled": settled}

    def _refuse_unpromised(self, timeout: float, now: float) -> None:
        """A longer time-out is taken only once the disk says so; the agent asks again. Raises
        `ValueError`."""
        for name, mailbox in self._paths.mailboxes():
            self._promise(name, mailbox, math.ceil(timeout), now)
            if 0 < mailbox.promised_s < timeout:
                raise ValueError("the mailbox does not promise so long a time-out yet")

    def let_go(self) -> None:
        """At an orderly end: with nothing left running it is disarmed, else it is not."""
        if not self._watchdog.timeout or self._dead_man.is_armed:
            return
        if not self._paths.retract(_RETRACT_S):
            self._log("watchdog_left_armed", reason="a mailbox still promises it")
            return
        self._dead_man.take_back(tuple(self._dead_man.promises))
        self._log("watchdog_disarmed", refused=self._watchdog.disarm())
