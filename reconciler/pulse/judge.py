"""Who is heard, who is suspect, who is silent. Pure: no clock, no socket; `process` feeds it.

Times are CLOCK_MONOTONIC seconds. Three rules keep it from blaming the wrong one:

* heartbeats are judged by when the kernel received them, after everything received was read;
* after a pause of our own process (a tick late by more than one interval) nobody is blamed until a
  full detection time has passed again;
* a new start of a peer's pulse counts only once it has echoed our own start id, so a recording made
  before we started proves nothing, and an earlier start of a peer is never accepted again.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.pulse.packet import Heartbeat

SUSPECT_MISSES = 2
_RETIRED_STARTS = 64  # starts of one peer that we remember as over
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Settings:
    """What is expected: `peers` maps each other server to its path names; interval in seconds.
    `intervals` names the paths that are slower: a serial line, a disk."""

    cluster: str
    server: str
    interval: float
    misses: int
    peers: Mapping[str, tuple[str, ...]]
    intervals: Mapping[str, float] = field(default_factory=dict)

    @property
    def detection(self) -> float:
        """Seconds without any heartbeat after which a peer is silent on every path."""
        return max((self.interval, *self.intervals.values())) * self.misses

    def interval_of(self, path: str) -> float:
        return self.intervals.get(path, self.interval)

    def slower(self, other: "Settings") -> "Settings":
        """Who is to be heard by these, and no sooner missed than by the others."""
        slow = {
            path: max(every, other.intervals.get(path, every))
            for path, every in self.intervals.items()
        }
        interval, misses = max(self.interval, other.interval), max(self.misses, other.misses)
        return replace(self, interval=interval, misses=misses, intervals=slow)


@dataclass(slots=True)
class Peer:
    """What we know of one peer. `since`: when we began to expect it."""

    since: float
    heard: dict[str, float | None]
    sequence: dict[str, int] = field(default_factory=dict)
    newest_sequence: int = -1
    boot_id: str | None = None
    keys: tuple[str, ...] = ()  # ids of the cluster keys that it holds
    start: str | None = None
    claimed_start: str | None = None  # newest start seen, proven or not: what we echo
    retired: deque[str] = field(default_factory=lambda: deque(maxlen=_RETIRED_STARTS))
    answered_at: float = float("-inf")
    silent_there: frozenset[str] = frozenset()
    suspect_there: frozenset[str] = frozenset()
    store: str = "unknown"
    agent_alive: bool | None = None
    missed: dict[str, int] = field(default_factory=dict)
    suspect: bool = False
    silent: bool = False

    @property
    def heard_at(self) -> float | None:
        return max((at for at in self.heard.values() if at is not None), default=None)


@dataclass(frozen=True, slots=True)
class Heard:
    """Outcome of one heartbeat. `refused`: why it does not count (None: it counts). `answer`: the
    sender should get a heartbeat at once, because it needs our echo to prove its new start."""

    refused: str | None
    answer: bool = False


class Judge:
    """Keeps the state of all peers; `own_start` is this pulse's random start id."""

    def __init__(self, settings: Settings, own_start: str, now: float) -> None:
        self.settings = settings
        self.own_start = own_start
        self.refusals: Counter[str] = Counter()
        self.pauses = 0
        self._resumed_at = now
        self._late: deque[tuple[float, float]] = deque()
        self._dirty = True
        self._due = now
        self._seen: object = None
        self.peers: dict[str, Peer] = {}
        self.configure(settings, now)

    def configure(self, settings: Settings, now: float) -> None:
        """Expect these peers from now on; what is known of peers and paths that stay is kept."""
        kept = self.peers
        self.peers = {}
        for name, paths in settings.peers.items():
            peer = kept.get(name) or Peer(since=now, heard={})
            peer.heard = {path: peer.heard.get(path) for path in paths}
            peer.sequence = {p: n for p, n in peer.sequence.items() if p in peer.heard}
            self.peers[name] = peer
        self.settings = settings
        self._dirty = True

    # -- arrivals -------------------------------------------------------------------------------

    def hear(self, beat: Heartbeat, path: str, at: float) -> Heard:
        """Take in one authentic heartbeat that arrived on `path` at `at`."""
        refused = self._addressed_wrongly(beat, path)
        if refused is not None:
            return self._refuse(refused)
        peer = self.peers[beat.sender]
        if beat.start in peer.retired:
            return self._refuse("replayed")
        answer = self._claim(peer, beat.start, at)
        if beat.start != peer.start or beat.boot_id != peer.boot_id:
            if beat.echo != self.own_start:
                self._refuse("unproven")
                return Heard("unproven", answer)
            self._adopt(peer, beat)
        if beat.sequence <= peer.sequence.get(path, -1):
            return self._refuse("replayed")
        peer.sequence[path] = beat.sequence
        peer.keys = beat.keys
        peer.heard[path] = max(at, peer.heard[path] or at)
        if peer.suspect or peer.missed.get(path, 0) >= self.settings.misses:
            self._dirty = True
        if beat.sequence > peer.newest_sequence:
            peer.newest_sequence = beat.sequence
            self._take_report(peer, beat)
        return Heard(None, answer)

    def _addressed_wrongly(self, beat: Heartbeat, path: str) -> str | None:
        if beat.cluster != self.settings.cluster:
            return "other-cluster"
        if beat.to != self.settings.server or beat.path != path:
            return "not-for-us"
        peer = self.peers.get(beat.sender)
        return "unknown-sender" if peer is None or path not in peer.heard else None

    def _refuse(self, reason: str) -> Heard:
        self.refusals[reason] += 1
        return Heard(reason)

    def _claim(self, peer: Peer, start: str, at: float) -> bool:
        if start == peer.claimed_start:
            return False
        peer.claimed_start = start
        # Bounded: a recording played in a loop must not make us flood the network.
        if at - peer.answered_at < self.settings.interval / 2:
            return False
        peer.answered_at = at
        return True

    def _adopt(self, peer: Peer, beat: Heartbeat) -> None:
        if peer.start is not None and peer.start != beat.start:
            peer.retired.append(peer.start)
        peer.start, peer.boot_id = beat.start, beat.boot_id
        peer.sequence, peer.newest_sequence = {}, -1
        self._dirty = True

    def _take_report(self, peer: Peer, beat: Heartbeat) -> None:
        report = (beat.silent, beat.suspect, beat.store, beat.agent_alive)
        if report == (peer.silent_there, peer.suspect_there, peer.store, peer.agent_alive):
            return
        peer.silent_there, peer.suspect_there, peer.store, peer.agent_alive = report
        self._dirty = True

    # -- our own lateness -----------------------------------------------------------------------

    def woke(self, now: float, due: float) -> None:
        """Our tick was due at `due` and ran at `now`; more than one interval late is a pause."""
        late = max(0.0, now - due)
        self._late.append((now, late))
        if late > self.settings.interval:
            self.pauses += 1
            self._resumed_at = now
            self._dirty = True

    def late(self, now: float) -> float:
        """Worst lateness of our ticks within the last detection time, seconds."""
        while self._late and self._late[0][0] < now - self.settings.detection:
            self._late.popleft()
        return max((late for _, late in self._late), default=0.0)

    def in_grace(self, now: float) -> bool:
        """True while nobody may be blamed: just started, or just back from a pause."""
        return now + _ROUNDING < self._resumed_at + self.settings.detection

    def paused(self, now: float) -> bool:
        """True from the end of a pause of our own until we may judge again."""
        return self.pauses > 0 and self.in_grace(now)

    # -- judgement ------------------------------------------------------------------------------

    def judge(self, now: float) -> bool:
        """Judge everyone at `now`; every heartbeat received before `now` must have been heard.

        True when something that others should know has changed since the last judgement.
        """
        if not self._dirty and now + _ROUNDING < self._due:
            return False
        self._dirty = False
        grace = self.in_grace(now)
        for peer in self.peers.values():
            peer.missed = {path: self._missed(peer, path, now) for path in peer.heard}
            fewest = min(peer.missed.values(), default=0)
            peer.suspect = not grace and fewest >= min(SUSPECT_MISSES, self.settings.misses)
            peer.silent = not grace and fewest >= self.settings.misses
        self._due = self._next_due(now)
        seen = self._signature(now)
        changed, self._seen = seen != self._seen, seen
        return changed

    def next_due(self) -> float:
        """When somebody may become suspect or silent if nothing is heard until then."""
        return self._due

    @property
    def is_calm(self) -> bool:
        """Everybody is known and heard, and nobody reports a doubt."""
        return not any(
            peer.suspect
            or peer.silent
            or peer.suspect_there
            or peer.silent_there
            or peer.start is None
            or peer.start != peer.claimed_start
            for peer in self.peers.values()
        )

    def missed(self, name: str, path: str, now: float) -> int:
        """Heartbeats missed from this peer on this path at `now`."""
        return self._missed(self.peers[name], path, now)

    def hears_majority(self, now: float) -> bool | None:
        """Do we hear a majority of the cluster's servers, ourselves included? None: cannot say."""
        if self.in_grace(now):
            return None
        heard = 1 + sum(not peer.silent for peer in self.peers.values())
        return heard >= (len(self.peers) + 1) // 2 + 1

    def _reference(self, peer: Peer, path: str) -> float:
        heard = peer.heard[path]
        expected = max(peer.since, self._resumed_at)
        return expected if heard is None else max(heard, expected)

    def _missed(self, peer: Peer, path: str, now: float) -> int:
        quiet = now - self._reference(peer, path)
        return max(0, int((quiet + _ROUNDING) / self.settings.interval_of(path)))

    def _thresholds(self) -> Iterator[float]:
        for peer in self.peers.values():
            suspect_at = []
            for path in peer.heard:
                reference, interval = self._reference(peer, path), self.settings.interval_of(path)
                yield reference + interval * self.settings.misses
                suspect_at.append(reference + SUSPECT_MISSES * interval)
            if suspect_at:
                yield max(suspect_at)

    def _next_due(self, now: float) -> float:
        later = [at for at in self._thresholds() if at > now + _ROUNDING]
        if self.in_grace(now):
            later.append(self._resumed_at + self.settings.detection)
        return min(later, default=now + self.settings.interval)

    def _signature(self, now: float) -> object:
        return (
            self.paused(now),
            self.pauses,
            [
                (
                    name,
                    peer.suspect,
                    peer.silent,
                    peer.start,
                    peer.boot_id,
                    peer.silent_there,
                    peer.suspect_there,
                    peer.store,
                    peer.agent_alive,
                    [
                        path
                        for path, missed in peer.missed.items()
                        if missed >= self.settings.misses
                    ],
                )
                for name, peer in self.peers.items()
            ],
        )
