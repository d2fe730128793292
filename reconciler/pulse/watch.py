"""The dead-man at work: keeps the kill list and the newest proof (also in a file, so that a new
pulse inherits the deadline), asks `deadman` and lets `emergency` act. `process` calls it."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reconciler.pulse import deadman
from reconciler.pulse.deadman import Policy, Scope
from reconciler.pulse.emergency import Outcome, check_entry, end_all, is_over

SCHEMA = 1
_SAVE_EVERY_S = 1.0


class DeadMan:
    """`state_path`: file in /run (gone after a reboot), or None to keep nothing. For `end` and
    `seen_ended` see `emergency`."""

    def __init__(
        self,
        state_path: str | None,
        now: float,
        *,
        end: Callable[[Sequence[Mapping[str, Any]]], list[Outcome]] = end_all,
        seen_ended: Callable[[Mapping[str, Any]], bool] = is_over,
    ) -> None:
        self._path = state_path
        self._end, self._seen_ended = end, seen_ended
        self._state = deadman.DeadManState()
        self._kept_isolation: float | None = None
        self._entries: list[dict[str, Any]] = []
        self._due: list[dict[str, Any]] = []
        self._hold = False
        self._stretch, self._stretched_until = "", 0.0
        self._overdue = False
        self._inherited = False  # and not judged yet
        self._proven_at = now  # nothing known yet: the deadline runs from here
        self._saved_at = float("-inf")
        self._boot_id = ""
        self.condemned = False
        # What mailboxes of this boot may say on their disks (the path's name, the watchdog's
        # time-out, when it was read last): a pulse that cannot read such a disk must not feed.
        self.promises: dict[str, tuple[int, float]] = {}
        self.fired = 0
        self.outcomes: list[Outcome] = []
        self._load(now)

    def bind(self, boot_id: str) -> None:
        """The boot that we serve now; what was inherited from another boot is forgotten."""
        if self._boot_id and self._boot_id != boot_id:
            self._entries, self._hold, self.condemned = [], False, False
            self._stretch, self._stretched_until = "", 0.0
            self.promises = {}
            self._state = deadman.DeadManState()
        self._boot_id = boot_id

    def register(self, entries: Sequence[Mapping[str, Any]], now: float) -> None:
        """Replace the kill list; raises `ValueError` for a malformed entry."""
        for entry in entries:
            check_entry(entry)
        self._entries = [dict(entry) for entry in entries]
        self._save(now)

    def stretch(self, hold: str, until: float, now: float) -> None:
        """The agent may be away until then; of the same hold an earlier end counts, a later one
        does not. Raises `ValueError` for a hold without a name."""
        if not hold:
            raise ValueError("stretch: the hold has no name")
        until = min(until, now + deadman.LONGEST_HOLD_S)
        if hold == self._stretch:
            until = min(until, self._stretched_until)
        self._stretch, self._stretched_until = hold, until
        self._save(now)

    def hold(self, wanted: bool, now: float) -> None:
        """While this holds, what must stop without the store may run although the list does not
        say so yet: then an overdue proof stops the feeding, until the agent takes the word back."""
        self._hold = wanted
        self._save(now)

    def promise(self, path: str, seconds: int, read_at: float, now: float) -> None:
        """A mailbox is about to promise this, or was read again; told before the disk is."""
        known = self.promises.get(path)
        self.promises[path] = (seconds, read_at)
        if known is None or seconds > known[0] or now - self._saved_at >= _SAVE_EVERY_S:
            self._save(now)

    def take_back(self, paths: Sequence[str]) -> None:
        """These disks say nothing any more."""
        known = [path for path in paths if path in self.promises]
        for path in known:
            del self.promises[path]
        if known:
            self._save(self._saved_at)

    def condemn(self, now: float) -> None:
        """A poison pill: this boot is over, whoever is heard and whatever is proven."""
        self.condemned = True
        self.outcomes = self._end(self._entries)
        self.fired += 1
        self._save(now)

    def prove(self, proof_until: float | None, session_ttl: float, now: float) -> None:
        """The session is proven until `proof_until`; None: no new proof, the old one ages on."""
        if proof_until is None:
            return
        self._proven_at = min(max(self._proven_at, proof_until - session_ttl), now)
        if now - self._saved_at >= _SAVE_EVERY_S:
            self._save(now)

    def judge(self, now: float, deadline: float, hears_majority: bool | None) -> list[Outcome]:
        """Decide, and when it is time end what must end. Returns what was ended, and nothing when
        it fired again with the same result."""
        self._inherited = False
        if self.condemned:
            self._due = self._entries
            return []
        stop = [entry for entry in self._entries if _policy(entry) is Policy.STOP]
        situation = deadman.Situation(
            now,
            deadline,
            self._proven_at,
            hears_majority,
            bool(self._entries),
            bool(stop) or self._hold,
            self._stretched_until,
        )
        before = self._state
        self._state, scope, fire = deadman.step(before, situation)
        self._keep_isolation(now)
        again = before.fired_at is not None and before.fired is scope
        self._overdue = scope is not Scope.NOTHING
        self._due = {Scope.NOTHING: [], Scope.STOP: stop, Scope.EVERYTHING: self._entries}[scope]
        if not fire:
            return []
        outcomes = self._end(self._due)
        if again and outcomes == self.outcomes:
            return []
        self.fired += 1
        self.outcomes = outcomes
        return outcomes

    def _keep_isolation(self, now: float) -> None:
        """Since when this server is alone counts for the next pulse too: one that is killed again
        and again must not begin to count each time."""
        if self._state.isolated_since != self._kept_isolation:
            try:
                self._save(now)
            except OSError:
                return  # tried again at the next judgement
            self._kept_isolation = self._state.isolated_since

    def may_feed(self) -> bool:
        """False while something runs that the last judgement wanted ended: then only a reset
        ends it."""
        if self.condemned or self._inherited or (self._hold and self._overdue):
            return False
        return all(self._seen_ended(entry) for entry in self._due)

    @property
    def is_armed(self) -> bool:
        """There is something to end."""
        return self._hold or bool(self._entries)

    def summary(self, now: float) -> dict[str, Any]:
        """For the view: times are seconds."""
        since = self._state.isolated_since
        return {
            "proven_at": self._proven_at,
            "armed": len(self._entries),
            "hold": self._hold,
            "condemned": self.condemned,
            "stretch": self._stretch,
            "stretched_until": self._stretched_until,
            "proof_age": round(now - self._proven_at, 3),
            "isolated_for": None if since is None else round(now - since, 3),
            "fired": self.fired,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }

    def _save(self, now: float) -> None:
        if self._path is None:
            return
        self._saved_at = now
        temporary = f"{self._path}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._content(), file)
        os.replace(temporary, self._path)

    def _content(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "boot_id": self._boot_id,
            "proven_at": self._proven_at,
            "isolated_since": self._state.isolated_since,
            "entries": self._entries,
            "hold": self._hold,
            "stretch": self._stretch,
            "stretched_until": self._stretched_until,
            "condemned": self.condemned,
            "promises": self.promises,
        }

    def _load(self, now: float) -> None:
        if self._path is None or not os.path.exists(self._path):
            return
        self._inherited = True
        try:
            with open(self._path, encoding="utf-8") as file:
                self._inherit(json.load(file), now)
        except (OSError, ValueError, KeyError, TypeError):
            # What it held is not known: nothing counts as proven until the agent says so again.
            self._proven_at, self._hold = 0.0, True

    def _inherit(self, content: Mapping[str, Any], now: float) -> None:
        """What the pulse before us kept."""
        if content["schema"] != SCHEMA or content["proven_at"] > now:
            return
        for entry in content["entries"]:
            check_entry(entry)
        self._entries = list(content["entries"])
        self._proven_at = float(content["proven_at"])
        self._boot_id = str(content["boot_id"])
        since = content.get("isolated_since")
        self._kept_isolation = None if since is None else min(float(since), now)
        self._state = deadman.DeadManState(self._kept_isolation)
        self._hold = bool(content.get("hold", False))
        self.condemned = bool(content.get("condemned", False))
        told = content.get("promises", {}).items()
        self.promises = {str(path): (int(s), float(at)) for path, (s, at) in told}
        self._stretch = str(content.get("stretch", ""))
        until = float(content.get("stretched_until", 0.0))
        self._stretched_until = min(until, now + deadman.LONGEST_HOLD_S)


def _policy(entry: Mapping[str, Any]) -> Policy:
    return Policy(entry.get("policy", Policy.KEEP))
