"""Programs killed with SIGKILL, servers that die, and all of them at once."""

import random
import signal
import time

from tests.faults.bed import Bed
from tests.faults.kinds.kind import Fault, kind

SHORT_S = (1.0, 5.0)
RESTART_S = 20.0


def _nothing() -> None:
    """The supervisor or the agent brings it back by itself."""


def _kill(bed: Bed, server: str, program: str) -> Fault:
    bed.signal(bed.pids(server, program), signal.SIGKILL)
    return Fault((server,), _nothing, f"{server}/{program}")


@kind("agent-killed", "an agent is killed", SHORT_S)
def agent(bed: Bed, rng: random.Random) -> Fault:
    return _kill(bed, bed.pick(rng), "agent")


@kind("pulse-killed", "a pulse is killed", SHORT_S)
def pulse(bed: Bed, rng: random.Random) -> Fault:
    return _kill(bed, bed.pick(rng), "pulse")


@kind("etcd-killed", "an etcd member is killed", SHORT_S)
def etcd(bed: Bed, rng: random.Random) -> Fault:
    return _kill(bed, rng.choice((bed.leader(), rng.choice(bed.servers))), "etcd")


@kind("runner-killed", "the holder of a group's program is killed", SHORT_S)
def runner(bed: Bed, rng: random.Random) -> Fault:
    return _kill(bed, bed.owner(rng.choice(bed.groups)), "runner")


@kind("probe-killed", "the process that makes a server's probes is killed", SHORT_S)
def probe(bed: Bed, rng: random.Random) -> Fault:
    return _kill(bed, bed.owner(rng.choice(bed.groups)), "probe")


@kind("programs-killed", "agent, pulse and etcd of one server are killed together", SHORT_S)
def programs(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    for program in rng.sample(("agent", "pulse", "etcd"), 3):
        _kill(bed, server, program)
    return Fault((server,), _nothing, server)


@kind("crash", "a server dies; its BMC still says on", (2.0, 12.0))
def crash(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    bed.crash(server)
    return Fault((server,), lambda: bed.power_on(server), server)


@kind("two-crash", "two servers die at once", (2.0, 15.0), alone=True)
def two(bed: Bed, rng: random.Random) -> Fault:
    """Of three, that takes the quorum: nothing can be proven until one is back."""
    first = bed.pick(rng)
    second = rng.choice(bed.others(first))
    bed.crash(first, second)

    def heal() -> None:
        for server in (first, second):
            bed.power_on(server)

    blocked = "quorum is lost" if len(bed.servers) - 2 < bed.majority else ""
    return Fault((first, second), heal, f"{first} {second}", blocked)


@kind("rolling-restart", "all agents are restarted, one after the other", (0.5, 2.0))
def rolling(bed: Bed, rng: random.Random) -> Fault:
    """With SIGTERM as an upgrade does, or with SIGKILL."""
    number = rng.choice((signal.SIGTERM, signal.SIGKILL))
    for server in rng.sample(bed.servers, len(bed.servers)):
        before = bed.pids(server, "agent")
        bed.signal(before, number)
        deadline = time.monotonic() + RESTART_S
        while bed.pids(server, "agent") in ([], before) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(rng.uniform(0.0, 2.0))
    return Fault(bed.servers, _nothing, number.name)


@kind("power-loss", "all servers lose their power, and get it back", (1.0, 6.0), alone=True)
def power_loss(bed: Bed, rng: random.Random) -> Fault:
    """At once: without the management network no survivor fences, and so switches on, the first."""
    handle = bed.cut(*((server, "--network", "management") for server in bed.servers))
    bed.crash(*bed.servers)
    bed.uncut(handle)
    order = rng.sample(bed.servers, len(bed.servers))

    def heal() -> None:
        for server in order:
            bed.power_on(server)

    return Fault(bed.servers, heal, "", "nobody is there")
