"""What the agent tells its pulse: paths, timing, keys, and what to end in an emergency."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from reconciler.pulse.settings import AnyPath, DiskSettings, PathSettings, SerialSettings
from specs.heartbeat_path import HeartbeatPathSpec

KillEntry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PulseConfiguration:
    """Times are seconds; `keys` are hexadecimal, newest first, and appear in no text of ours.

    `dead_man` is D, `session_ttl` the TTL of the session's lease.
    """

    cluster: str
    server: str
    boot_id: str
    keys: tuple[str, ...] = field(repr=False)
    interval: float
    misses: int
    dead_man: float
    session_ttl: float
    paths: Mapping[str, AnyPath]

    def message(self) -> dict[str, Any]:
        """The `configure` message of the link."""
        return {
            "op": "configure",
            "schema": 1,
            "policy": "keep",
            "cluster": self.cluster,
            "server": self.server,
            "boot_id": self.boot_id,
            "keys": list(self.keys),
            "interval": self.interval,
            "misses": self.misses,
            "dead_man": self.dead_man,
            "session_ttl": self.session_ttl,
            "paths": {name: _path(path) for name, path in self.paths.items()},
        }


def heartbeat_paths(
    own: str,
    networks: Iterable[str],
    addresses: Mapping[str, Mapping[str, str]],
    port: int,
) -> dict[str, PathSettings]:
    """Paths of server `own`: one per network in which it and at least one other has an address.

    `addresses`: server -> network -> address. Every server listens on `port`.
    """
    paths: dict[str, PathSettings] = {}
    for network in networks:
        address = addresses[own].get(network)
        peers = {
            server: (by_network[network], port)
            for server, by_network in sorted(addresses.items())
            if server != own and network in by_network
        }
        if address is not None and peers:
            paths[network] = PathSettings(address, port, peers)
    return paths


def device_paths(
    own: str, wanted: Iterable[HeartbeatPathSpec], interval: float
) -> dict[str, AnyPath]:
    """Disks and serial lines of server `own`; `interval` is that of the networks."""
    paths: dict[str, AnyPath] = {}
    for path in wanted:
        device, every = path.devices.get(own), path.every(interval)
        if device is None:
            continue
        if path.type == "disk":
            slots = {server: number for number, server in enumerate(path.devices)}
            paths[path.name] = DiskSettings(device, own, slots, every, path.mailbox or 0.0)
        else:
            peer = next(server for server in path.devices if server != own)
            paths[path.name] = SerialSettings(device, path.speed, peer, every)
    return paths


def kill_cgroup(folder: str, policy: str = "keep") -> KillEntry:
    """End everything in this cgroup folder. `policy`: see `pulse.deadman`."""
    return {"kind": "cgroup", "path": f"{folder}/cgroup.kill", "policy": policy}


def kill_process(pid: int, start_time: int, policy: str = "keep") -> KillEntry:
    """End this process and all below it; `start_time` is field 22 of /proc/PID/stat."""
    return {"kind": "pid", "pid": pid, "start_time": start_time, "policy": policy}


def kill_address(address: str, interface: str, policy: str = "keep") -> KillEntry:
    """Remove `address` ("10.77.2.100/24") from `interface`."""
    return {"kind": "address", "address": address, "interface": interface, "policy": policy}


def _path(path: AnyPath) -> dict[str, Any]:
    if isinstance(path, SerialSettings):
        return {"kind": "serial", **asdict(path)}
    if isinstance(path, DiskSettings):
        return {"kind": "disk", **asdict(path)}
    peers = {name: {"address": a, "port": p} for name, (a, p) in path.peers.items()}
    return {"address": path.address, "port": path.port, "peers": peers}
