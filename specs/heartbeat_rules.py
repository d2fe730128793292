"""Heartbeat paths that cannot work, or are unwise; used by the checks."""

from collections.abc import Iterator

from specs.errors import SpecProblem, suggestion
from specs.heartbeat_path import BITS_PER_HEARTBEAT, HeartbeatPathSpec, is_unstable
from specs.spec_set import LoadedObject, SpecSet
from specs.yaml_text import Path


def check_heartbeat_paths(specs: SpecSet, item: LoadedObject) -> Iterator[SpecProblem]:
    """`item` is the Cluster."""
    if specs.cluster is None:
        return
    spec = specs.cluster.spec
    taken = {network.name for network in spec.networks}
    for number, heartbeat in enumerate(spec.heartbeat_paths):
        path: Path = ("spec", "heartbeatPaths", number)
        if heartbeat.name in taken:
            message = f"there is another path or network {heartbeat.name!r}"
            yield item.problem((*path, "name"), message, "E0403")
        taken.add(heartbeat.name)
        for server, device in heartbeat.devices.items():
            if server not in specs.servers:
                hint = suggestion(server, list(specs.servers))
                message = f"there is no Server {server!r}{hint}"
                yield item.problem((*path, "devices", server), message, "E0201")
            if heartbeat.type == "disk" and is_unstable(device):
                message = (
                    f"{device} may be another disk after a boot: use a name in /dev/disk/by-id"
                )
                yield item.problem((*path, "devices", server), message, "W0402")
        yield from _speed(item, path, heartbeat, spec.timing.resolved().heartbeat_interval)


def _speed(
    item: LoadedObject, path: Path, heartbeat: HeartbeatPathSpec, interval: float
) -> Iterator[SpecProblem]:
    every = heartbeat.every(interval)
    need = BITS_PER_HEARTBEAT / every
    if heartbeat.type == "serial" and need > heartbeat.speed:
        least = BITS_PER_HEARTBEAT / heartbeat.speed
        message = (
            f"a heartbeat each {every * 1000:g}ms needs about {need:.0f} baud and the line has "
            f"{heartbeat.speed}: make `interval` at least {least * 1000:.0f}ms"
        )
        yield item.problem((*path, "interval"), message, "E0403")
