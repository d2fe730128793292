"""Bridges and virtual cables of a lab, made with iproute2.

Standard library only; used by the daemon (bridges), the board (cables) and init (addresses).
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from clusterctl.lab import plan

SETUP_TIMEOUT_S = 15.0


def build_networks(lab: plan.Plan) -> None:
    """The bridges, and the addresses of the BMCs, in the lab's own network namespace."""
    lines = ["link set lo up"]
    for network in plan.NETWORKS:
        address = plan.mac(lab.index, network, 255, 0)
        lines.append(f"link add {network} address {address} type bridge mcast_snooping 0")
        lines.append(f"link set {network} up")
    prefix = lab.cidr("management").rpartition("/")[2]
    lines += [f"address add {node.bmc_address}/{prefix} dev management" for node in lab.servers]
    run_ip(lines)


def plug_host(lab: plan.Plan, lab_pid: int) -> None:
    """Cables from this machine into the lab, but not its public network, so that programs reach
    the store and the BMCs. Called in the machine's own network namespace."""
    for network in plan.HOST_NETWORKS:
        name = plan.host_interface(lab.lab_id, network)
        inside = plan.mac(lab.index, network, 254, 1)
        outside = plan.mac(lab.index, network, 254, 0)
        prefix = lab.cidr(network).rpartition("/")[2]
        cable = f"type veth peer name {host_port(network)} address {inside} netns {lab_pid}"
        run_ip(
            [
                f"link add {name} address {outside} {cable}",
                f"address add {lab.host_address(network)}/{prefix} dev {name}",
                f"link set {name} up",
            ]
        )


def host_port(network: str) -> str:
    """The bridge's end of this machine's cable."""
    return f"host-{network[:4]}"


def pause_table(node: plan.Node) -> str:
    """The nftables table that makes a paused server deaf and mute."""
    return f"clusterctl-pause-{node.name}"


def unmute(node: plan.Node) -> None:
    """A server that was switched off while it was paused is not paused when it boots."""
    subprocess.run(
        ["nft", "delete", "table", "bridge", pause_table(node)],
        capture_output=True,  # as a rule there is no such table
        timeout=SETUP_TIMEOUT_S,
        check=False,
    )


def plug_cables(lab: plan.Plan, node: plan.Node, pid: int) -> None:
    """A virtual cable for each network: one end in the server, one in the bridge."""
    lines = []
    for network in node.addresses:
        port = plan.port_name(node, network)
        inside = plan.mac(lab.index, network, node.number, 0)
        outside = plan.mac(lab.index, network, node.number, 1)
        interface = plan.INTERFACES[network]
        cable = f"type veth peer name {interface} address {inside} netns {pid}"
        lines.append(f"link add {port} address {outside} {cable}")
        lines.append(f"link set {port} master {network} up")
    run_ip(lines)


def remove_cables(node: plan.Node) -> None:
    """The old cables may be there still: the kernel removes a dead server's network later."""
    names = [plan.port_name(node, network) for network in node.addresses]
    present = [name for name in names if Path(f"/proc/sys/net/ipv4/conf/{name}").exists()]
    run_ip([f"link del {name}" for name in present], force=True)


def run_ip(lines: Sequence[str], *, force: bool = False) -> None:
    """A batch of `ip` commands in this network namespace; raises `LabError` with ip's words."""
    if not lines:
        return
    argv = ["ip", "-force", "-batch", "-"] if force else ["ip", "-batch", "-"]
    done = subprocess.run(
        argv,
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        timeout=SETUP_TIMEOUT_S,
        check=False,
    )
    if done.returncode and not force:
        raise plan.LabError(f"ip: {done.stderr.strip()}")
