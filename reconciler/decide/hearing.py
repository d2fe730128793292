"""What this server's pulse hears of the others: plain data, produced by `ports.peers.Peers`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PathView:
    """One heartbeat path (a network's name): when last heard, and how many are missed now."""

    heard_at: float | None
    missed: int


@dataclass(frozen=True, slots=True)
class PeerView:
    """One other server as this server's pulse sees it. Times are CLOCK_MONOTONIC seconds.

    `suspect`: at least 2 heartbeats missed on all paths (the challenge may start).
    `silent`: at least K missed on all paths. `heard_at`: newest heartbeat on any path.
    `sees_silent`: the servers that this peer's own last heartbeat reports as silent.
    `store`: what the peer says of its store: "quorum", "no-quorum" or "unknown".
    `agent_alive`: the peer's pulse has heard from its agent within the dead-man deadline.
    """

    server: str
    paths: Mapping[str, PathView]
    heard_at: float | None
    suspect: bool
    silent: bool
    boot_id: str | None = None
    sees_silent: frozenset[str] = frozenset()
    store: str = "unknown"
    agent_alive: bool | None = None


@dataclass(frozen=True, slots=True)
class PeersView:
    """The pulse's whole view at `taken_at`; `late_ms` is how late the pulse itself ran at worst
    within the last detection time (am I slow?). `pulse_alive` is false when no view has come for
    longer than the pulse promises; `paused`: the pulse itself stood still for more than H.

    `dead_man_s` is the deadline D that the pulse holds, `proven_at` the send time of the newest
    renewal that it knows of (it outlives the agent), `watchdog_s` the time-out of the hardware
    watchdog that it feeds; 0 while none is armed. `holds`: it knows that something may run here
    that must not outlive D, and stops feeding then.
    `condemned`: it found a poison pill for this boot. `stretch` is the newest `agent hold` that it
    was told, `stretched_until` its end."""

    taken_at: float
    peers: Mapping[str, PeerView] = field(default_factory=dict)
    late_ms: float = 0.0
    pulse_alive: bool = False
    paused: bool = False
    dead_man_s: float = 0.0
    proven_at: float | None = None
    watchdog_s: float = 0.0
    holds: bool = False
    condemned: bool = False
    stretch: str = ""
    stretched_until: float = 0.0
