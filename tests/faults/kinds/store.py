"""The store: members away, quorum lost and back, history compacted, no space left."""

import contextlib
import json
import random
import signal
import subprocess
import sys

from tests.faults.bed import TTL_S, Bed
from tests.faults.kinds.kind import Fault, kind

# What etcd does when its quota is used up: no write is accepted until the alarm is disarmed.
RAISE_ALARM = """
import sys, grpc
endpoint, ca, cert, key, request = sys.argv[1:]
read = lambda path: open(path, "rb").read()
keys = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
with grpc.secure_channel(endpoint, keys) as channel:
    call = channel.unary_unary("/etcdserverpb.Maintenance/Alarm")
    call(bytes.fromhex(request), timeout=5)
"""


def _away(bed: Bed, servers: list[str], blocked: str = "") -> Fault:
    """These members are killed and kept from coming back."""
    for server in servers:
        bed.program(server, "etcd", enabled=False)
        bed.signal(bed.pids(server, "etcd"), signal.SIGKILL)

    def heal() -> None:
        for server in servers:
            bed.program(server, "etcd", enabled=True)

    return Fault(tuple(servers), heal, " ".join(servers), blocked)


@kind("member-lost", "an etcd member is away for a while", (2.0, 20.0))
def member(bed: Bed, rng: random.Random) -> Fault:
    return _away(bed, [rng.choice((bed.leader(), rng.choice(bed.servers)))])


@kind("quorum-lost", "a majority of etcd members is away for a while", (2.0, 2 * TTL_S))
def quorum(bed: Bed, rng: random.Random) -> Fault:
    count = rng.randint(bed.majority, len(bed.servers))
    return _away(bed, rng.sample(bed.servers, count), "quorum is lost")


@kind("quorum-paused", "a majority of etcd members stands still", (2.0, 2 * TTL_S))
def quorum_paused(bed: Bed, rng: random.Random) -> Fault:
    servers = rng.sample(bed.servers, rng.randint(bed.majority, len(bed.servers)))
    pids = [pid for server in servers for pid in bed.pids(server, "etcd")]
    bed.signal(pids, signal.SIGSTOP)
    return Fault(
        tuple(servers),
        lambda: bed.signal(pids, signal.SIGCONT),
        " ".join(servers),
        "quorum is lost",
    )


@kind("compacted", "the store's history is compacted up to now, and defragmented", (0.5, 2.0))
def compacted(bed: Bed, rng: random.Random) -> Fault:
    """While an agent stands still, so that its watch comes too late for what it has not seen."""
    server = rng.choice(bed.servers)
    pids = bed.pids(server, "agent")
    bed.signal(pids, signal.SIGSTOP)
    try:
        revision = bed.revision()
        bed.etcdctl("compact", str(revision))
    except (AssertionError, subprocess.SubprocessError):
        bed.signal(pids, signal.SIGCONT)
        raise
    detail = f"r{revision}, agent of {server} asleep"
    if rng.random() < 0.5:
        with contextlib.suppress(subprocess.SubprocessError):  # a member that is away has none
            bed.etcdctl("defrag")
            detail += ", defragmented"
    return Fault((server,), lambda: bed.signal(pids, signal.SIGCONT), detail)


@kind("no-space", "the store refuses every write: its quota is used up", (2.0, 20.0))
def no_space(bed: Bed, rng: random.Random) -> Fault:
    members = json.loads(bed.etcdctl("member", "list", "-w", "json"))["members"]
    raised = bytes([0x08, 1, 0x10, *_varint(int(members[0]["ID"])), 0x18, 1])
    found = bed.cluster.lab.directory / "secrets/pki"
    keys = [str(found / name) for name in ("ca.crt", "admin.crt", "admin.key")]
    endpoint = f"{bed.plan.servers[0].addresses['private']}:2379"
    argv = [sys.executable, "-c", RAISE_ALARM, endpoint, *keys, raised.hex()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert not done.returncode, done.stderr.strip().splitlines()[-1]

    def heal() -> None:
        bed.etcdctl("alarm", "disarm")

    return Fault(bed.servers, heal, "", "the store takes no writes")


def _varint(number: int) -> list[int]:
    found = []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return [*found, number]
