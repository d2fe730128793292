"""What DRBD says of one resource: `drbdsetup events2 --now --statistics` and `drbdadm get-gi`.

Both versions print these in the same form; version 9 knows more keys. Called by
`adapters.linux.drbd`.
"""

import re
from dataclasses import dataclass

_GI = re.compile(r"^((?:[0-9A-Fa-f]{16}:){4})((?:[01]:)*[01])", re.MULTILINE)
_VERSION = re.compile(r"^version: (\d+)\.(\d+)", re.MULTILINE)
_PROGRESS = re.compile(r"^\s.*?(?:verified|sync'ed):\s*(\d+\.\d+)%", re.MULTILINE)
_REPLICATES = ("Established", "VerifyS", "VerifyT")
_ROLE_BIT = 1
_NEVER_WRITTEN = 4
"""The current id of metadata that was just made."""


class Unreadable(ValueError):
    """DRBD's programs said something that is not understood; one sentence."""


@dataclass(frozen=True, slots=True)
class State:
    """One resource, in DRBD's own words ("UpToDate", "Connected", …). `suspended` has the reasons
    why its I/O stands still: "fencing", "user", "no-data", "quorum". Bytes; `pending` counts what
    the other side has not answered yet. `done` is how far a copy or a comparison is, in percent,
    where `events2` says so (version 9)."""

    role: str
    disk: str
    connection: str
    peer_role: str = "Unknown"
    peer_disk: str = "DUnknown"
    replication: str = "Off"
    suspended: frozenset[str] = frozenset()
    size: int = 0
    out_of_sync: int = 0
    pending: int = 0
    done: float | None = None

    @property
    def serves(self) -> bool:
        return self.role == "Primary"

    @property
    def connected(self) -> bool:
        return self.connection == "Connected"

    @property
    def both_current(self) -> bool:
        """Every write is on both sides before it counts. Not while they still find out, after they
        met, what the other one lacks."""
        whole = self.disk == self.peer_disk == "UpToDate"
        return self.connected and whole and self.replication in _REPLICATES


@dataclass(frozen=True, slots=True)
class Generations:
    """Ids of generations of data, 16 hexadecimal digits each, without the bit that tells the role.
    `base` is the one that the other side had when the bitmap was begun; empty without one."""

    current: str
    base: str = ""
    history: tuple[str, ...] = ()
    consistent: bool = False
    was_primary: bool = False

    @property
    def never_written(self) -> bool:
        return int(self.current, 16) & ~_ROLE_BIT == _NEVER_WRITTEN


def parse_version(text: str) -> tuple[int, int]:
    """(8, 4) of /proc/drbd. Raises `Unreadable`."""
    found = _VERSION.search(text)
    if found is None:
        raise Unreadable("/proc/drbd tells no version")
    return int(found[1]), int(found[2])


def parse_events(text: str, name: str) -> State | None:
    """None when there is no such resource. Raises `Unreadable`."""
    objects: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "exists":
            continue
        pairs = dict(word.partition(":")[::2] for word in words[2:])
        if pairs.get("name") == name:
            objects[words[1]] = pairs
    if "resource" not in objects:
        return None
    resource, device = objects["resource"], objects.get("device", {})
    connection, peer = objects.get("connection", {}), objects.get("peer-device", {})
    if "role" not in resource:
        raise Unreadable(f"DRBD tells no role of {name}")
    held = resource.get("suspended", "no")
    return State(
        role=resource["role"],
        disk=device.get("disk", "Diskless"),
        connection=connection.get("connection", "StandAlone"),
        peer_role=connection.get("role", "Unknown"),
        peer_disk=peer.get("peer-disk", "DUnknown"),
        replication=peer.get("replication", "Off"),
        suspended=frozenset() if held == "no" else frozenset(held.split(",")),
        size=_kibibytes(device, "size"),
        out_of_sync=_kibibytes(peer, "out-of-sync"),
        pending=_number(peer, "pending") + _number(peer, "unacked"),
        done=_percent(peer, "done"),
    )


def parse_progress(text: str, minor: int) -> float | None:
    """How far a copy or a comparison is, in percent, of /proc/drbd: version 8.4 tells it nowhere
    else. None when there is none."""
    _, _, rest = f"\n{text}".partition(f"\n{minor:>2}: ")
    mine = re.split(r"^ ?\d+: ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    found = _PROGRESS.search(mine)
    return float(found[1]) if found else None


def parse_generations(text: str) -> Generations:
    """Of `drbdadm get-gi`; with several lines (one for each peer) the first. Raises
    `Unreadable`."""
    found = _GI.search(text)
    if found is None:
        raise Unreadable(f"DRBD tells no generations: {text.strip()[-200:] or 'it said nothing'}")
    ids = [_plain(one) for one in found[1].split(":") if one]
    flags = found[2].split(":")
    return Generations(
        current=ids[0],
        base="" if not int(ids[1], 16) else ids[1],
        history=tuple(one for one in ids[2:] if int(one, 16)),
        consistent=flags[0] == "1",
        was_primary=len(flags) > 2 and flags[2] == "1",
    )


def _plain(text: str) -> str:
    return f"{int(text, 16) & ~_ROLE_BIT:016X}"


def _kibibytes(pairs: dict[str, str], name: str) -> int:
    return _number(pairs, name) * 1024


def _percent(pairs: dict[str, str], name: str) -> float | None:
    try:
        return float(pairs[name]) if name in pairs else None
    except ValueError:
        raise Unreadable(f"DRBD says {name}:{pairs[name]}") from None


def _number(pairs: dict[str, str], name: str) -> int:
    try:
        return int(pairs.get(name, "0"))
    except ValueError:
        raise Unreadable(f"DRBD says {name}:{pairs[name]}") from None
