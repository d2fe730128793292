"""/etc/clusterctl/cluster.json: what init fixed for the whole cluster; every joiner gets a copy."""

import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from clusterctl.bootstrap.layout import BootstrapError, read_file


class Facts(BaseModel):
    """Name, networks (name: CIDR, the first carries the store) and etcd timings (ms)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster: str
    networks: dict[str, str]
    profile: str = "default"
    etcd_heartbeat_ms: int
    etcd_election_ms: int

    def to_text(self) -> str:
        return json.dumps(self.model_dump(), indent=2) + "\n"


def read_facts(path: Path) -> Facts:
    """Raises `BootstrapError` where there is no cluster yet."""
    try:
        return Facts.model_validate_json(read_file(path, "the cluster's facts"))
    except ValidationError as error:
        raise BootstrapError(f"{path} is damaged: copy it from another server") from error


def by_network(networks: Mapping[str, str], addresses: Sequence[str]) -> dict[str, str]:
    """Network name -> the address that lies in it; refuses addresses that lie in none, and a
    server without an address in the first network."""
    found: dict[str, str] = {}
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            raise BootstrapError(f"{text!r} is not an IP address") from error
        inside = [name for name, cidr in networks.items() if address in ipaddress.ip_network(cidr)]
        if not inside:
            known = ", ".join(f"{name} {cidr}" for name, cidr in networks.items())
            raise BootstrapError(f"address {text} lies in none of the networks ({known})")
        found.setdefault(inside[0], text)
    first = next(iter(networks))
    if first not in found:
        raise BootstrapError(
            f"no address of this server lies in network {first} ({networks[first]}), which "
            "carries the store; add --address"
        )
    return found


def require_local(addresses: Sequence[str]) -> None:
    """Refuse an address that this machine does not have, before anything depends on it."""
    for text in addresses:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((text, 0))
            except OSError as error:
                raise BootstrapError(
                    f"this machine has no address {text}; see `ip -brief address`"
                ) from error


def require_free(addresses: Sequence[str], ports: Sequence[int]) -> None:
    """Refuse TCP ports that another program holds, before anything is written: etcd would only
    fail later, and somewhere else."""
    for port in ports:
        for text in addresses:
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((text, port))
                except OSError as error:
                    raise BootstrapError(
                        f"port {port} of {text} is in use; see by what with "
                        f"`ss -ltnp 'sport = :{port}'` (an etcd of the distribution: "
                        "`systemctl disable --now etcd`) and repeat this command"
                    ) from error
