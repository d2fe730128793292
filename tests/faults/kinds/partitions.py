"""Networks cut in every way: who can not hear whom, over which network, in which direction."""

import itertools
import random

from tests.faults.bed import Bed
from tests.faults.kinds.kind import Fault, kind

HOLD_S = (2.0, 15.0)


def _pairs(pairs: list[tuple[str, str]]) -> list[tuple[str, ...]]:
    return [(a, "--network", "all", "--from", b) for a, b in pairs]


def _cut(
    bed: Bed, targets: tuple[str, ...], cuts: list[tuple[str, ...]], detail: str, blocked: str = ""
) -> Fault:
    handle = bed.cut(*cuts)
    return Fault(targets, lambda: bed.uncut(handle), detail, blocked)


@kind("partition-halves", "two parts that hear nothing of each other", HOLD_S)
def halves(bed: Bed, rng: random.Random) -> Fault:
    """Half of the times the smaller part reaches no BMC either."""
    names = rng.sample(bed.servers, len(bed.servers))
    size = rng.randint(1, len(names) // 2)
    small, large = names[:size], names[size:]
    cuts = _pairs(list(itertools.product(small, large)))
    if rng.random() < 0.5:
        cuts += [(server, "--network", "management") for server in small]
    return _cut(bed, tuple(small), cuts, f"{' '.join(small)} | {' '.join(large)}")


@kind("partition-one", "one server is cut from all others", HOLD_S)
def one(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    return _cut(bed, (server,), [(server, "--network", "all")], server)


@kind("partition-ring", "each server hears its neighbours only", HOLD_S)
def ring(bed: Bed, rng: random.Random) -> Fault:
    """Of three servers one pair can not hear each other."""
    names = rng.sample(bed.servers, len(bed.servers))
    count = len(names)
    near = {frozenset((names[i], names[(i + 1) % count])) for i in range(count)}
    if count == 3:
        near.pop()
    far = [pair for pair in itertools.combinations(names, 2) if frozenset(pair) not in near]
    return _cut(bed, tuple(sorted({name for pair in far for name in pair})), _pairs(far), f"{far}")


@kind("partition-one-way", "one server is deaf, or mute, to all others", HOLD_S)
def one_way(bed: Bed, rng: random.Random) -> Fault:
    server, way = bed.pick(rng), rng.choice(("in", "out"))
    words = (server, "--network", "all", "--direction", way)
    return _cut(bed, (server,), [words], f"{server} {way}")


@kind("private-cut", "the private network of one server, or of all, is cut", HOLD_S)
def private(bed: Bed, rng: random.Random) -> Fault:
    return _network(bed, rng, "private")


@kind("public-cut", "the public network of one server, or of all, is cut", HOLD_S)
def public(bed: Bed, rng: random.Random) -> Fault:
    return _network(bed, rng, "public")


def _network(bed: Bed, rng: random.Random, network: str) -> Fault:
    targets = (bed.pick(rng),) if rng.random() < 0.7 else bed.servers
    return _cut(bed, targets, [(each, "--network", network) for each in targets], " ".join(targets))


@kind("heartbeat-cut", "heartbeats of one server, or of all, are dropped, all else arrives", HOLD_S)
def heartbeat(bed: Bed, rng: random.Random) -> Fault:
    targets = (bed.pick(rng),) if rng.random() < 0.7 else bed.servers
    cuts = [(each, "--network", "all", "--only", "heartbeat") for each in targets]
    return _cut(bed, targets, cuts, " ".join(targets))


@kind("store-cut", "one server reaches no etcd but its own, all else arrives", (2.0, 25.0))
def store(bed: Bed, rng: random.Random) -> Fault:
    server = bed.pick(rng)
    return _cut(bed, (server,), [(server, "--network", "all", "--only", "store")], server)


@kind("lossy", "30 to 70 of 100 packets of one server are lost", HOLD_S)
def lossy(bed: Bed, rng: random.Random) -> Fault:
    server, loss = bed.pick(rng), str(rng.randint(30, 70))
    words = (server, "--network", "all", "--loss", loss)
    return _cut(bed, (server,), [words], f"{server} {loss} %")


@kind("links-swizzled", "single links are cut one by one and heal in another order", (1.0, 8.0))
def swizzled(bed: Bed, rng: random.Random) -> Fault:
    pairs = list(itertools.combinations(bed.servers, 2))
    chosen = rng.sample(pairs, rng.randint(1, len(pairs)))
    handles = [bed.cut(words) for words in _pairs(chosen)]
    rng.shuffle(handles)

    def heal() -> None:
        for handle in handles:
            bed.uncut(handle)

    return Fault(tuple(sorted({name for pair in chosen for name in pair})), heal, f"{chosen}")
