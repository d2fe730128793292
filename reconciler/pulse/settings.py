"""What the agent's `configure` message says, checked. `process` applies it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.pulse.judge import Settings
from reconciler.pulse.packet import KeyRing


@dataclass(frozen=True, slots=True)
class PathSettings:
    """One network: bind to (`address`, `port`) and send to each peer's (address, port)."""

    address: str
    port: int
    peers: Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """One line to one other server. `speed` in baud, `interval` between heartbeats in seconds."""

    device: str
    speed: int
    peer: str
    interval: float

    @property
    def peers(self) -> tuple[str, ...]:
        return (self.peer,)


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """A prepared device (`disk_layout`). `slots` maps each server to the number of its slot; ours
    is that of `server`. With a `patience` (seconds) it is a mailbox for poison pills, too: a
    server that could not read its own for so long lets its watchdog end it."""

    device: str
    server: str
    slots: Mapping[str, int]
    interval: float
    patience: float = 0.0

    @property
    def slot(self) -> int:
        return self.slots[self.server]

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(name for name in self.slots if name != self.server)

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(self.slots[name] for name in self.peers)


AnyPath = PathSettings | SerialSettings | DiskSettings


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole `configure` message. Times are seconds; `dead_man` is D, `session_ttl` tells how old
    a proof is that holds until a given time."""

    cluster: str
    server: str
    boot_id: str
    keys: tuple[bytes, ...]
    interval: float
    misses: int
    dead_man: float
    session_ttl: float
    paths: Mapping[str, AnyPath]

    def __repr__(self) -> str:  # keys stay out of every log
        return f"Configuration({self.cluster}/{self.server})"

    def judge_settings(self) -> Settings:
        peers: dict[str, list[str]] = {}
        for name, path in self.paths.items():
            for peer in path.peers:
                peers.setdefault(peer, []).append(name)
        by_peer = {peer: tuple(sorted(paths)) for peer, paths in sorted(peers.items())}
        intervals = {
            name: max(self.interval, path.interval)
            for name, path in self.paths.items()
            if not isinstance(path, PathSettings)
        }
        return Settings(self.cluster, self.server, self.interval, self.misses, by_peer, intervals)

    @property
    def pace(self) -> tuple[object, ...]:
        """What others reckon with when they listen for our heartbeats."""
        slow = {n: p.interval for n, p in self.paths.items() if not isinstance(p, PathSettings)}
        return self.interval, self.misses, slow

    def key_ring(self) -> KeyRing:
        return KeyRing(self.keys)


def parse(message: Mapping[str, Any]) -> Configuration:
    """The configuration in a message; raises `ValueError` with a sentence, never showing a key."""
    try:
        if message.get("policy", "keep") != "keep":
            raise ValueError("only the store-loss policy 'keep' is supported")
        configuration = Configuration(
            cluster=str(message["cluster"]),
            server=str(message["server"]),
            boot_id=str(message["boot_id"]),
            keys=_keys(message["keys"]),
            interval=float(message["interval"]),
            misses=int(message["misses"]),
            dead_man=float(message["dead_man"]),
            session_ttl=float(message["session_ttl"]),
            paths={str(name): _path(path) for name, path in message["paths"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"configure: missing or malformed field {error}") from None
    if not 0.001 <= configuration.interval <= 60 or not 2 <= configuration.misses <= 1000:
        raise ValueError("configure: interval must be 1 ms to 60 s and misses at least 2")
    if configuration.dead_man <= 0 or configuration.session_ttl <= 0:
        raise ValueError("configure: dead_man and session_ttl must be positive")
    if any(configuration.server in path.peers for path in configuration.paths.values()):
        raise ValueError("configure: a server is not its own peer")
    configuration.key_ring()  # refuses short or missing keys
    return configuration


def _keys(raw: Any) -> tuple[bytes, ...]:
    try:
        return tuple(bytes.fromhex(key) for key in raw)
    except (TypeError, ValueError):
        raise ValueError("configure: a cluster key is not hexadecimal") from None


def _path(raw: Mapping[str, Any]) -> AnyPath:
    kind = raw.get("kind", "udp")
    if kind == "serial":
        return SerialSettings(
            str(raw["device"]), int(raw["speed"]), str(raw["peer"]), float(raw["interval"])
        )
    if kind == "disk":
        slots = {str(name): int(number) for name, number in raw["slots"].items()}
        interval, patience = float(raw["interval"]), float(raw.get("patience", 0.0))
        return DiskSettings(str(raw["device"]), str(raw["server"]), slots, interval, patience)
    peers = {str(n): (str(p["address"]), int(p["port"])) for n, p in raw["peers"].items()}
    return PathSettings(str(raw["address"]), int(raw["port"]), peers)
