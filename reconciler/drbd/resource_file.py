"""The file that tells DRBD about one mirror, below /etc/drbd.d. Called by `adapters.linux.drbd`."""

import math
import re
from dataclasses import dataclass

FENCED = 4
"""What a fence-peer handler says when the other side cannot become current by itself."""
_UNLIMITED = "700M"
_WORD = re.compile(r'^[^"\\\n;{}]+$')


class Unfit(ValueError):
    """A name cannot be written into the file; one sentence."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`local` is this machine's own host name, which DRBD looks for; `peer` any other word.
    `first` decides the numbers of version 9: it must be the same side on both. `size` bytes,
    `limit` bytes a second (0: none), `timeout_s` for a silent peer. `alone` is the file that says
    that the record names this side alone, `split` the one that a split brain leaves."""

    name: str
    local: str
    peer: str
    first: bool
    disk: str
    metadata: str
    size: int
    port: int
    address: str
    peer_address: str
    secret: str
    alone: str
    split: str
    version: tuple[int, int] = (8, 4)
    asynchronous: bool = False
    timeout_s: float = 2.0
    limit: int = 0


def device_of(port: int) -> str:
    """A port belongs to one mirror, so its number may name the device, too."""
    return f"/dev/drbd{port}"


def render(wanted: Wanted) -> str:
    """Raises `Unfit`.

    I/O freezes when the other side is lost, and goes on only when the handler, or the agent, says
    that the record names this side alone. A split brain is never solved by itself."""
    for text in (wanted.name, wanted.local, wanted.peer, wanted.disk, wanted.metadata):
        if not _WORD.match(text):
            raise Unfit(f"{text!r} cannot be written into a file of DRBD")
    return f"""\
# Written by the cluster's agent; it writes it again.
resource "{wanted.name}" {{{_options(wanted)}
  net {{
{_net(wanted)}
  }}
  disk {{
{_disk(wanted)}
  }}
  handlers {{
    fence-peer "test -e {wanted.alone} && exit {FENCED}; exit 1";
    split-brain "touch {wanted.split}";
    initial-split-brain "touch {wanted.split}";
  }}
{_side(wanted, wanted.local, wanted.address, 0 if wanted.first else 1)}
{_side(wanted, wanted.peer, wanted.peer_address, 1 if wanted.first else 0)}
}}
"""


def _options(wanted: Wanted) -> str:
    """Version 9 would promote a side as soon as somebody opens its device."""
    return "\n  options {\n    auto-promote no;\n  }" if wanted.version >= (9, 0) else ""


def _net(wanted: Wanted) -> str:
    tenths = max(1, min(600, round(wanted.timeout_s * 10)))
    longer = max(3, math.ceil(wanted.timeout_s) + 1)  # DRBD wants both above the time-out
    lines = [
        f"protocol {'A' if wanted.asynchronous else 'C'}",
        "cram-hmac-alg sha256",
        "verify-alg sha256",
        f'shared-secret "{wanted.secret}"',
        f"timeout {tenths}",
        f"ping-timeout {min(tenths, 300)}",
        f"ping-int {longer}",
        f"connect-int {longer}",
        "allow-two-primaries no",
        "after-sb-0pri disconnect",
        "after-sb-1pri disconnect",
        "after-sb-2pri disconnect",
    ]
    if wanted.version >= (9, 0):
        lines.append("fencing resource-and-stonith")
    return _lines(lines)


def _disk(wanted: Wanted) -> str:
    lines = [f"size {wanted.size // 1024}K", "on-io-error detach"]
    if wanted.limit:
        lines += ["c-plan-ahead 0", f"resync-rate {max(1, wanted.limit // 1024)}K"]
    else:
        lines += ["resync-rate 50M", f"c-max-rate {_UNLIMITED}"]
    if wanted.version < (9, 0):
        lines.append("fencing resource-and-stonith")
    return _lines(lines)


def _lines(lines: list[str]) -> str:
    return "\n".join(f"    {line};" for line in lines)


def _side(wanted: Wanted, host: str, address: str, number: int) -> str:
    family = "ipv6" if ":" in address else "ipv4"
    where = f"[{address}]" if family == "ipv6" else address
    node = f"    node-id {number};\n" if wanted.version >= (9, 0) else ""
    return f"""\
  on "{host}" {{
{node}    device {device_of(wanted.port)} minor {wanted.port};
    disk "{wanted.disk}";
    flexible-meta-disk "{wanted.metadata}";
    address {family} {where}:{wanted.port};
  }}"""


def metadata_bytes(size: int) -> int:
    """Enough for either version: superblock, activity log, one bit for each 4 KiB."""
    return (1 << 20) + size // (1 << 14) // 4096 * 4096
