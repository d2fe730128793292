"""What a pulse says in its `view` messages, as data. `pulse_peers` calls it."""

from dataclasses import dataclass, replace
from typing import Any

from reconciler.ports.peers import PathView, PeersView, PeerView


@dataclass(frozen=True, slots=True)
class PulseStatus:
    """The pulse's own state, for status and events. `pauses` counts pauses of the pulse (a tick
    later than one interval) since it was configured; `paused`: it blames nobody at the moment."""

    pid: int | None = None
    realtime: bool = False
    locked: bool = False
    warnings: tuple[str, ...] = ()
    paused: bool = False
    pauses: int = 0
    dead_man_fired: int = 0
    dead_man_outcomes: tuple[tuple[str, str], ...] = ()
    armed: int = 0
    proof_age: float | None = None
    isolated_for: float | None = None
    watchdog_s: float = 0.0
    watchdog_error: str = ""


def parse_view(message: dict[str, Any]) -> PeersView:
    """What is heard of the others, out of a `view` message."""
    peers = {name: _parse_peer(name, raw) for name, raw in message["peers"].items()}
    return PeersView(
        taken_at=message["taken_at"],
        peers=peers,
        late_ms=message.get("late_ms", 0.0),
        dead_man_s=message.get("deadline", 0.0),
        proven_at=message["dead_man"].get("proven_at"),
        watchdog_s=message.get("watchdog", {}).get("timeout", 0.0),
        holds=message["dead_man"].get("hold", False),
        condemned=message["dead_man"].get("condemned", False),
        stretch=message["dead_man"].get("stretch", ""),
        stretched_until=message["dead_man"].get("stretched_until", 0.0),
    )


def _parse_peer(name: str, raw: dict[str, Any]) -> PeerView:
    return PeerView(
        server=name,
        paths={p: PathView(v["heard_at"], v["missed"]) for p, v in raw["paths"].items()},
        heard_at=raw["heard_at"],
        suspect=raw["suspect"],
        silent=raw["silent"],
        boot_id=raw["boot_id"],
        sees_silent=frozenset(raw["sees_silent"]),
        store=raw["store"],
        agent_alive=raw["agent_alive"],
    )


def parse_status(message: dict[str, Any], known: PulseStatus) -> PulseStatus:
    """The pulse itself, out of a `view` message; what is said in `hello` only is kept."""
    dead_man = message["dead_man"]
    return replace(
        known,
        warnings=tuple(message["warnings"]),
        paused=message.get("paused", False),
        pauses=message.get("pauses", 0),
        dead_man_fired=dead_man["fired"],
        dead_man_outcomes=tuple((o["entry"], o["error"]) for o in dead_man["outcomes"]),
        armed=dead_man["armed"],
        proof_age=dead_man["proof_age"],
        isolated_for=dead_man["isolated_for"],
        watchdog_s=message.get("watchdog", {}).get("timeout", 0.0),
        watchdog_error=message.get("watchdog", {}).get("error", ""),
    )


def essence(view: PeersView, status: PulseStatus) -> object:
    """What of a view makes it a transition: everything but times and counts of misses."""
    peers = [
        (
            (p.server, p.suspect, p.silent, p.boot_id, p.sees_silent, p.store, p.agent_alive),
            [(name, path.missed >= 2) for name, path in sorted(p.paths.items())],
        )
        for p in view.peers.values()
    ]
    stretched = (view.stretch, view.stretched_until)
    kept = (view.holds, view.condemned)
    known = (view.dead_man_s, view.watchdog_s, kept, status.watchdog_error, stretched)
    return peers, status.pauses, status.paused, status.dead_man_fired, known
