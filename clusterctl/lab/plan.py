"""What a lab looks like: names, addresses, files. Standard library only, because the BMC's power
program reads it at every command (see power.py).

A lab is described by one JSON file, DIRECTORY/lab.json; nothing of it changes while the lab runs.
"""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NETWORKS = ("private", "public", "management")
# This machine is in these too; the public one is the same in every lab, so it stays inside.
HOST_NETWORKS = ("private", "management")
# the interface inside a server that is plugged into each network
INTERFACES = {"private": "eth0", "public": "eth1", "management": "eth2"}
CLIENT = "client"
BMC_USER = "admin"
BMC_PORT = 623
SERVER_LIMIT = 32
INDEX_LIMIT = 60
_FIRST_HOST = 11
_MANAGEMENT_OFFSET = 100  # BMC of n1 is .11 in the management network, n1 itself is .111
_CLIENT_HOST = 200
HOST_HOST = 254


class LabError(Exception):
    """Something a person has to change; one sentence."""


@dataclass(frozen=True, slots=True)
class Node:
    """One server, or the client. `number` counts from 1; the client's is 0."""

    name: str
    number: int
    addresses: dict[str, str]
    bmc_address: str = ""
    bmc_guid: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole lab. `programs` are directories put in front of PATH; `visible` are directories that
    every server must see at their own place (interpreter, code). `state_mib`: size of the servers'
    state directories, which then are in memory; 0 = on the disk of this machine. `profile`: names
    the timings."""

    directory: Path
    name: str
    index: int
    python: str
    source: Path
    cgroup_root: Path
    programs: tuple[str, ...]
    visible: tuple[str, ...]
    nodes: tuple[Node, ...]
    state_mib: int = 0
    profile: str = "default"

    @property
    def lab_id(self) -> str:
        return lab_id(self.directory)

    @property
    def servers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.number)

    @property
    def cgroup(self) -> Path:
        return self.cgroup_root / cgroup_name(self.directory)

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"the lab has no {name!r}; it has {known}")

    def server(self, name: str) -> Node:
        node = self.node(name)
        if not node.number:
            raise LabError("the client is not a server: it has no power, no BMC and no agent")
        return node

    def cidr(self, network: str) -> str:
        return f"{_prefix(self.index, network)}.0/24"

    def host_address(self, network: str) -> str:
        """The address under which this machine itself takes part in a network of the lab."""
        return f"{_prefix(self.index, network)}.{HOST_HOST}"

    def node_directory(self, name: str) -> Path:
        return self.directory / "servers" / name

    def bmc_directory(self, name: str) -> Path:
        return self.directory / "bmc" / name

    def password_file(self, name: str) -> Path:
        """Password of a server's BMC; its servers get copies under /etc/clusterctl/secrets."""
        return self.directory / "secrets" / f"bmc-{name}"

    def save(self) -> None:
        data = asdict(self)
        for key in ("directory", "source", "cgroup_root"):
            data[key] = str(data[key])
        path = self.directory / "lab.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"schema": 1, **data}, indent=2) + "\n")
        temporary.replace(path)


def load(directory: Path) -> Plan:
    """The plan of the lab in `directory`; raises `LabError` when there is none."""
    try:
        data: dict[str, Any] = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError as error:
        raise LabError(f"there is no lab in {directory}") from error
    except (OSError, ValueError) as error:
        raise LabError(f"{directory}/lab.json can not be read: {error}") from error
    return Plan(
        directory=Path(data["directory"]),
        name=data["name"],
        index=data["index"],
        python=data["python"],
        source=Path(data["source"]),
        cgroup_root=Path(data["cgroup_root"]),
        programs=tuple(data["programs"]),
        visible=tuple(data["visible"]),
        nodes=tuple(Node(**node) for node in data["nodes"]),
        state_mib=data.get("state_mib", 0),
        profile=data.get("profile", "default"),
    )


def make_nodes(index: int, count: int) -> tuple[Node, ...]:
    """`count` servers n1, n2, … and the client."""
    nodes = []
    for number in range(1, count + 1):
        host = _FIRST_HOST + number - 1
        nodes.append(
            Node(
                name=f"n{number}",
                number=number,
                addresses={
                    "private": f"{_prefix(index, 'private')}.{host}",
                    "public": f"{_prefix(index, 'public')}.{host}",
                    "management": f"{_prefix(index, 'management')}.{host + _MANAGEMENT_OFFSET}",
                },
                bmc_address=f"{_prefix(index, 'management')}.{host}",
                bmc_guid=str(uuid.uuid4()),
            )
        )
    client = Node(CLIENT, 0, {"public": f"{_prefix(index, 'public')}.{_CLIENT_HOST}"})
    return (*nodes, client)


def lab_id(directory: Path) -> str:
    """Short name of a lab, the same for the same directory."""
    return hashlib.sha256(str(directory).encode()).hexdigest()[:8]


def cgroup_name(directory: Path) -> str:
    return f"clusterctl-lab-{lab_id(directory)}"


def find_cgroup_root() -> Path:
    """Where cgroup v2 is mounted: it kills a whole lab at once and freezes a whole server."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1])
    raise LabError("cgroup v2 is not mounted; try: mount -t cgroup2 none /sys/fs/cgroup/unified")


def port_name(node: Node, network: str) -> str:
    """The bridge's end of a node's cable."""
    return f"{node.name}-{network[:4]}"


def host_interface(lab: str, network: str) -> str:
    """The interface of this machine in a network of the lab; at most 15 characters."""
    return f"cl{lab}{network[:2]}"


def mac(index: int, network: str, number: int, end: int) -> str:
    """A fixed, locally administered MAC. Ends: 0 the node's, 1 the bridge's port.

    Fixed because a bridge takes its lowest port's MAC: servers that come and go would change it.
    """
    return f"02:77:{index:02x}:{NETWORKS.index(network):02x}:{number:02x}:{end:02x}"


def _prefix(index: int, network: str) -> str:
    if network == "public":
        # The same in every lab, so that the examples run as they are; this machine is not in it.
        return "10.77.2"
    return f"10.77.{index * 4 + 1 + NETWORKS.index(network)}"
