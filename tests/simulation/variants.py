"""What a simulated cluster has beside networks and BMCs; drawn from the seed, or a story's own.

Even seeds get the plain cluster, odd ones some of the rest. `SimCluster` holds one.
"""

import random
from dataclasses import dataclass, field
from typing import Any

DISK, SERIAL = "quorum", "line"
# (D, W) that fit into a session of 10 s: ((D + W) x 1.1 + 1) / 0.9.
TERMS = ((6.0, 1.0), (5.0, 2.0), (4.0, 1.0), (4.0, 3.0), (3.0, 2.0))
EVERY_PROOF = ("released", "fenced", "expired", "confirmed")


@dataclass(frozen=True, slots=True)
class Variant:
    """`stop`: groups under `onStoreLoss: stop`; with `expires` time alone moves them. `watchdog_s`:
    of every server, 0 for none. `mailbox_s`: patience of the mailbox on the disk, and then a poison
    pill is the second fence level. `serial`: a line between the first two servers. `exclusive`: no
    two groups on one server. `restores`: the store may come out of a backup."""

    stop: tuple[str, ...] = ()
    expires: bool = False
    watchdog_s: float = 0.0
    dead_man_s: float = 6.0
    disk: bool = False
    mailbox_s: float = 0.0
    serial: bool = False
    exclusive: bool = False
    restores: bool = False

    @property
    def is_plain(self) -> bool:
        return self == PLAIN

    def paths(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """`heartbeatPaths` of the Cluster."""
        found: list[dict[str, Any]] = []
        if self.disk:
            mailbox = {"mailbox": f"{self.mailbox_s:g}s"} if self.mailbox_s else {}
            devices = dict.fromkeys(names, "/dev/quorum")
            found.append({"name": DISK, "type": "disk", "devices": devices, **mailbox})
        if self.serial:
            devices = dict.fromkeys(names[:2], "/dev/ttyS0")
            found.append({"name": SERIAL, "type": "serial", "devices": devices})
        return found


PLAIN = Variant()


@dataclass(slots=True)
class Disk:
    """The shared disk of heartbeats and mailboxes: what is written on it."""

    promises: dict[str, dict[str, Any]] = field(default_factory=dict)
    pills: dict[str, str] = field(default_factory=dict)


def variant_of(seed: int, groups: tuple[str, ...] = ("a", "b")) -> Variant:
    """The variant of a seed of chaos."""
    if seed % 2 == 0:
        return PLAIN
    rng = random.Random(f"variant-{seed}")
    stop = rng.choice(((), groups[:1], groups))
    watchdog = rng.random() < 0.6
    dead_man_s, watchdog_s = rng.choice(TERMS) if watchdog else (6.0, 0.0)
    disk = rng.random() < 0.4
    return Variant(
        stop=stop,
        expires=bool(stop) and watchdog and rng.random() < 0.7,
        watchdog_s=watchdog_s,
        dead_man_s=dead_man_s,
        disk=disk,
        mailbox_s=rng.choice((1.0, 2.0)) if disk and watchdog and rng.random() < 0.7 else 0.0,
        serial=rng.random() < 0.3,
        exclusive=rng.random() < 0.3,
        restores=rng.random() < 0.25,
    )
