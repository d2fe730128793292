"""Programs and whole servers that stand still for half a session's time to live up to three, and
then go on as if no time had passed."""

import random
import signal

from tests.faults.bed import TTL_S, Bed
from tests.faults.kinds.kind import Fault, kind

HOLD_S = (0.5 * TTL_S, 3 * TTL_S)


def stand_still(bed: Bed, server: str, *programs: str) -> Fault:
    """Programs of one server stopped, in this order."""
    pids = []
    for program in programs:
        found = bed.pids(server, program)
        bed.signal(found, signal.SIGSTOP)
        pids += found
    return Fault(
        (server,), lambda: bed.signal(pids, signal.SIGCONT), f"{server}/{'+'.join(programs)}"
    )


@kind("agent-paused", "an agent stands still", HOLD_S)
def agent(bed: Bed, rng: random.Random) -> Fault:
    return stand_still(bed, bed.pick(rng), "agent")


@kind("pulse-paused", "a pulse stands still", HOLD_S)
def pulse(bed: Bed, rng: random.Random) -> Fault:
    return stand_still(bed, bed.pick(rng), "pulse")


@kind("agent-and-pulse-paused", "agent and pulse of a server stand still", HOLD_S)
def agent_and_pulse(bed: Bed, rng: random.Random) -> Fault:
    return stand_still(bed, bed.pick(rng), "pulse", "agent")


@kind("etcd-paused", "an etcd member stands still", HOLD_S)
def etcd(bed: Bed, rng: random.Random) -> Fault:
    return stand_still(bed, rng.choice(bed.servers), "etcd")


@kind("leader-paused", "the store's leader stands still", (0.3, 1.5 * TTL_S))
def leader(bed: Bed, rng: random.Random) -> Fault:
    return stand_still(bed, bed.leader(), "etcd")


@kind("server-paused", "a whole server stands still, as a paused virtual machine", HOLD_S)
def server(bed: Bed, rng: random.Random) -> Fault:
    name = bed.pick(rng)
    return pause_server(bed, name)


@kind("server-blinks", "a whole server stands still for less than a second", (0.05, 0.9))
def blink(bed: Bed, rng: random.Random) -> Fault:
    return pause_server(bed, bed.pick(rng))


def pause_server(bed: Bed, name: str) -> Fault:
    """Freezing it, and thawing it unless it was switched off meanwhile."""
    if bed.running(name):
        bed.cluster.break_("pause", name, check=False)

    def heal() -> None:
        if bed.paused(name):
            bed.cluster.break_("resume", name, check=False)

    return Fault((name,), heal, name)
