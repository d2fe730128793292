"""What a server runs out of: disk, the right to write, descriptors; and a clock that is wrong."""

import random
import subprocess

from tests.faults.bed import Bed
from tests.faults.kinds.kind import Fault, kind

STATE = "/var/lib/clusterctl"
WALL_OFFSET = "/run/clusterctl/wall-offset"
HOLD_S = (3.0, 20.0)


@kind("disk-full", "the disk with the state of agent and etcd is full", HOLD_S)
def full(bed: Bed, rng: random.Random) -> Fault:
    """Filled to the last byte; it stays full over a power cycle, until it is healed."""
    server = bed.pick(rng)
    file = bed.cluster.state_directory(server) / "filler"
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1024 * 1024))
        except OSError:
            pass  # that is the wish

    def heal() -> None:
        file.unlink(missing_ok=True)

    return Fault((server,), heal, server, "etcd can not write" if len(bed.servers) < 3 else "")


@kind("state-read-only", "the state directory of a server can not be written", HOLD_S)
def read_only(bed: Bed, rng: random.Random) -> Fault:
    """Files that are open for writing stay so, as on a disk that turned read-only for new opens."""
    server = bed.pick(rng)
    command = f"mount --bind {STATE} {STATE} && mount -o remount,ro,bind {STATE}"
    undo = f"findmnt -no OPTIONS {STATE} | grep -q ^ro && umount {STATE}"
    assert bed.on(server, "sh", "-c", command), f"{STATE} of {server} can not be made read-only"

    def heal() -> None:
        if bed.running(server):
            bed.on(server, "sh", "-c", undo)

    return Fault((server,), heal, server)


@kind("descriptors-used-up", "an agent may open no more files and sockets", HOLD_S)
def descriptors(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    pids = bed.pids(server, "agent")
    for pid in pids:
        _limit(pid, 3 + rng.randint(0, 20))

    def heal() -> None:
        for pid in pids:
            _limit(pid, 1024)

    return Fault((server,), heal, server)


def _limit(pid: int, files: int) -> None:
    # a process that ended meanwhile needs none
    argv = ["prlimit", "--pid", str(pid), f"--nofile={files}:"]
    subprocess.run(argv, capture_output=True, timeout=10, check=False)


@kind("clock-wrong", "the wall clock of a server jumps by minutes up to a year", HOLD_S)
def clock(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    offset = rng.choice((-1, 1)) * rng.choice((90.0, 3600.0, 86400.0, 366 * 86400.0))
    assert bed.on(server, "sh", "-c", f"echo {offset} > {WALL_OFFSET}"), "no clock can be set"

    def heal() -> None:
        if bed.running(server):
            bed.on(server, "rm", "-f", WALL_OFFSET)

    return Fault((server,), heal, f"{server} {offset:+.0f} s")
