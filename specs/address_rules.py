"""Addresses that must be unique and reachable where they are used; used by the checks."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from specs.cluster import NetworkSpec
from specs.errors import SpecProblem, suggestion
from specs.resource import ResourceSpec
from specs.scalars import parse_address
from specs.spec_set import LoadedObject, ObjectRef, SpecSet
from specs.yaml_text import Path


def check_addresses(specs: SpecSet) -> Iterator[SpecProblem]:
    """Networks, server addresses, floating addresses and fence devices of the whole set."""
    networks = specs.cluster.spec.networks if specs.cluster else ()
    yield from _overlapping(specs, networks)
    if networks:
        yield from _servers(specs, {network.name: network for network in networks})
        yield from _floating(specs, networks)
    yield from _duplicates(specs)


def _overlapping(specs: SpecSet, networks: tuple[NetworkSpec, ...]) -> Iterator[SpecProblem]:
    parsed = [(network.name, ipaddress.ip_network(network.cidr)) for network in networks]
    for number, (_, later) in enumerate(parsed):
        for name, earlier in parsed[:number]:
            if later.version == earlier.version and later.overlaps(earlier):
                assert specs.cluster  # noqa: S101 - there are networks, so there is a Cluster
                item = specs.objects[ObjectRef("Cluster", specs.cluster.metadata.name)]
                message = f"{later} overlaps network {name!r}, {earlier}"
                yield item.problem(("spec", "networks", number, "cidr"), message, "E0305")


def _servers(specs: SpecSet, networks: dict[str, NetworkSpec]) -> Iterator[SpecProblem]:
    for name, server in specs.servers.items():
        item = specs.objects[ObjectRef("Server", name)]
        for network, address in server.spec.addresses.items():
            path: Path = ("spec", "addresses", network)
            if network not in networks:
                near = suggestion(network, networks)
                message = f"the Cluster has no network {network!r}{near}"
                yield item.problem(path, message, "E0303", at="key")
            elif not _inside(address, networks[network].cidr):
                message = f"{address} is outside network {network!r}, {networks[network].cidr}"
                yield item.problem(path, message, "E0302")
        given = server.spec.addresses
        for network in networks:
            if network not in given:
                message = f"no address in network {network!r}: no heartbeats, no groups there"
                yield item.problem(("spec", "addresses"), message, "W0303", at="key")
        if not any(networks[network].heartbeat for network in given if network in networks):
            message = "no address in any network that carries heartbeats"
            yield item.problem(("spec", "addresses"), message, "E0303", at="key")


def _floating(specs: SpecSet, networks: tuple[NetworkSpec, ...]) -> Iterator[SpecProblem]:
    for name, resource in specs.resources.items():
        if resource.spec.group not in specs.groups:
            continue
        eligible = specs.eligible_servers(resource.spec.group)
        for address in resource.spec.addresses():
            outside = []
            for server in eligible:
                own = specs.servers[server].spec.addresses
                cidrs = [network.cidr for network in networks if network.name in own]
                if not any(_inside(address, cidr) for cidr in cidrs):
                    outside.append(f"{server} ({', '.join(cidrs) or 'none'})")
            if outside:
                item = specs.objects[ObjectRef("Resource", name)]
                message = f"{address} is outside every network of {_shortened(outside)}"
                yield item.problem(_address_path(resource.spec, address), message, "E0304")


@dataclass(frozen=True, slots=True)
class _Use:
    """One place that names an address."""

    address: str
    item: LoadedObject
    path: Path
    what: str


def _duplicates(specs: SpecSet) -> Iterator[SpecProblem]:
    first: dict[str, _Use] = {}
    for use in (*_server_uses(specs), *_resource_uses(specs), *_bmc_uses(specs)):
        earlier = first.setdefault(use.address, use)
        if earlier is use or _same_device(earlier, use):
            continue
        place, _ = earlier.item.positions.value(earlier.path)
        where = f"{earlier.item.source}:{place}"
        yield use.item.problem(
            use.path, f"{use.address} is already {earlier.what} ({where})", "E0301"
        )


def _same_device(one: _Use, other: _Use) -> bool:
    """Levels of one server may reach the same device in two ways."""
    return one.item is other.item and one.what == other.what and one.what.startswith("the fence")


def _server_uses(specs: SpecSet) -> Iterator[_Use]:
    for name, server in specs.servers.items():
        item = specs.objects[ObjectRef("Server", name)]
        for network, address in server.spec.addresses.items():
            path: Path = ("spec", "addresses", network)
            yield _Use(address, item, path, f"server {name!r} in network {network!r}")


def _resource_uses(specs: SpecSet) -> Iterator[_Use]:
    for name, resource in specs.resources.items():
        item = specs.objects[ObjectRef("Resource", name)]
        for address in resource.spec.addresses():
            yield _Use(address, item, _address_path(resource.spec, address), f"resource {name!r}")


def _bmc_uses(specs: SpecSet) -> Iterator[_Use]:
    for name, server in specs.servers.items():
        item = specs.objects[ObjectRef("Server", name)]
        for number, level in enumerate(server.spec.fencing.levels if server.spec.fencing else ()):
            address = level.get("address")
            if isinstance(address, str):
                path: Path = ("spec", "fencing", "levels", number, "address")
                yield _Use(_plain(address), item, path, f"the fence device of server {name!r}")


def _address_path(spec: ResourceSpec, address: str) -> Path:
    """The field that gives the address; types choose their own names for it."""
    for key, value in spec.model_dump(mode="json", by_alias=True).items():
        if isinstance(value, str) and _plain(value) == address:
            return ("spec", key)
        for number, entry in enumerate(value if isinstance(value, list) else ()):
            if isinstance(entry, str) and _plain(entry) == address:
                return ("spec", key, number)
    return ("spec",)


def _plain(text: str) -> str:
    try:
        return parse_address(text.partition("/")[0])
    except ValueError:
        return text


def _inside(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def _shortened(words: list[str], most: int = 3) -> str:
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
