"""Two network namespaces with one cable between them, which can be broken in three ways.

Called by `place`. The namespaces end with this process, however it ends.
"""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mirror.pair import run

ADDRESSES = ("10.77.0.1", "10.77.0.2")


@dataclass(frozen=True, slots=True)
class Network:
    """`holders` are the processes whose namespaces they are; sides are 0 and 1."""

    holders: tuple[int, int]

    def prefix(self, side: int) -> list[str]:
        """Words in front of a command that runs there."""
        return ["nsenter", f"--net=/proc/{self.holders[side]}/ns/net"]

    def cut(self, side: int) -> None:
        """The cable is out on this side."""
        run(*self.prefix(side), "ip", "link", "set", "eth0", "down")

    def swallow(self, side: int) -> None:
        """Nothing that comes in arrives on this side; what it sends does."""
        for words in (
            "add table inet lost",
            "add chain inet lost in { type filter hook input priority 0 ; policy drop ; }",
        ):
            run(*self.prefix(side), "nft", words)

    def heal(self) -> None:
        for side in (0, 1):
            run(*self.prefix(side), "nft", "flush", "ruleset")
            run(*self.prefix(side), "ip", "link", "set", "eth0", "up")


@contextmanager
def two_networks() -> Iterator[Network]:
    holders = [
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]
        )
        for _ in ADDRESSES
    ]
    try:
        network = Network((holders[0].pid, holders[1].pid))
        _wait_for_own(network)
        _connect(network)
        yield network
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def _wait_for_own(network: Network) -> None:
    """The holder's program is `sleep` once its namespace is there."""
    for pid in network.holders:
        while Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":
            pass


def _connect(network: Network) -> None:
    name = secrets.token_hex(4)
    ends = (f"m{name}a", f"m{name}b")
    run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
    for side, end in enumerate(ends):
        run("ip", "link", "set", end, "netns", str(network.holders[side]))
        inside = (*network.prefix(side), "ip")
        run(*inside, "link", "set", end, "name", "eth0")
        run(*inside, "address", "add", f"{ADDRESSES[side]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run(*inside, "link", "set", device, "up")
