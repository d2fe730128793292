"""BMCs that do not answer, are slow, or lie, while the server that they belong to needs a fence.

Not here: a BMC that says *off* of a server that nobody can hear and that still runs. No software
can tell that one from a dead server; only a storage that refuses old epochs can.
"""

import random

from tests.faults.bed import TTL_S, Bed
from tests.faults.kinds.kind import Fault, kind
from tests.faults.kinds.pauses import pause_server, stand_still

HOLD_S = (6.0, 20.0)


def _with_bmc(bed: Bed, mode: str, server: str, fault: Fault, blocked: str) -> Fault:
    """The BMC is whole again first: then the cluster must go on by itself."""

    def heal() -> None:
        bed.cluster.break_("bmc", server, "ok")
        fault.heal()

    return Fault(fault.targets, heal, f"{server}: BMC {mode}", blocked)


def _crash(bed: Bed, rng: random.Random, mode: str, blocked: str) -> Fault:
    server = bed.pick(rng)
    bed.cluster.break_("bmc", server, mode)
    bed.crash(server)
    # not switched on by us: the fence that becomes possible does that
    return _with_bmc(bed, mode, server, Fault((server,), lambda: None), blocked)


@kind("bmc-dead", "a server dies, and its BMC answers nothing", HOLD_S)
def dead(bed: Bed, rng: random.Random) -> Fault:
    return _crash(bed, rng, "dead", "the BMC does not answer")


@kind("bmc-slow", "a server dies, and its BMC takes 3 s a command", HOLD_S)
def slow(bed: Bed, rng: random.Random) -> Fault:
    return _crash(bed, rng, "slow", "the BMC is slower than the time-out")


@kind("bmc-wrong-password", "a server dies, and its BMC has another password", HOLD_S)
def wrong_password(bed: Bed, rng: random.Random) -> Fault:
    return _crash(bed, rng, "wrong-password", "the BMC lets nobody in")


@kind("bmc-says-on", "a server dies, and its BMC obeys but always reads on", HOLD_S)
def says_on(bed: Bed, rng: random.Random) -> Fault:
    return _crash(bed, rng, "says-on", "the BMC never reads off")


@kind("bmc-says-off", "agent and pulse stand still, and the BMC says off and does nothing", HOLD_S)
def says_off(bed: Bed, rng: random.Random) -> Fault:
    """Its address still answers, so it is heard."""
    server = bed.owner(rng.choice(bed.groups))
    bed.cluster.break_("bmc", server, "says-off")
    fault = stand_still(bed, server, "pulse", "agent")
    return _with_bmc(bed, "says-off", server, fault, "the BMC is contradicted")


@kind("paused-behind-dead-bmc", "a server stands still and can not be fenced", (2.0, 3 * TTL_S))
def paused(bed: Bed, rng: random.Random) -> Fault:
    """It wakes up as the owner that it was, or is fenced when its BMC is back."""
    server = bed.pick(rng)
    bed.cluster.break_("bmc", server, "dead")
    fault = pause_server(bed, server)
    return _with_bmc(bed, "dead", server, fault, "the BMC does not answer")


@kind("isolated-behind-dead-bmc", "a server is cut from all and can not be fenced", HOLD_S)
def isolated(bed: Bed, rng: random.Random) -> Fault:
    """It stops what it runs, which proves nothing to the others."""
    server = bed.pick(rng)
    bed.cluster.break_("bmc", server, "dead")
    handle = bed.cut((server, "--network", "all"))
    fault = Fault((server,), lambda: bed.uncut(handle))
    return _with_bmc(bed, "dead", server, fault, "the BMC does not answer")
