"""Faults as data: a schedule is drawn from a seed alone, so a part of it can be played again.

`KINDS` says how each is carried out on a `SimCluster`; lengths reach from well below to well above
every margin of the product. `end_all` is the beginning of the calm.
"""

import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any

from reconciler.decide.records import OperationKind
from tests.simulation import restoring
from tests.simulation.cluster import SimCluster
from tests.simulation.devices import MODES
from tests.simulation.ears import NETWORKS, path_of_heartbeats
from tests.simulation.specs import make_specs
from tests.simulation.variants import EVERY_PROOF, SERIAL, TERMS, Variant, variant_of

HEARTBEATS = tuple(path_of_heartbeats(network) for network in NETWORKS)
# Below the detection time; below and above the challenge, the dead-man, the session, an intent.
LENGTHS = (0.15, 0.4, 2.0, 7.0, 13.0, 30.0)
FIRST_AT_S = 10.0
LAST_AT_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """At a moment, a kind, and everything that it needs."""

    at: float
    kind: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:7.2f} {self.kind}{self.args}"


def draw(seed: int, names: tuple[str, ...], groups: tuple[str, ...]) -> tuple[Fault, ...]:
    """The schedule of a seed."""
    rng = random.Random(f"schedule-{seed}")
    pace = rng.choice((1.0, 3.0, 8.0))
    kinds = {**_DRAW, **_kinds_of(variant_of(seed))}
    weights = [rng.choice((0, 1, 1, 3)) for _ in kinds]  # a swarm: no seed has every kind
    if not any(weights):
        weights = [1] * len(kinds)
    at, found = FIRST_AT_S + rng.random() * 5, []
    if rng.random() < 0.5:
        found.append(Fault(at, "trouble", (rng.choice((0.02, 0.1, 0.3)),)))
    variant = variant_of(seed)
    if (variant.expires or variant.mailbox_s) and rng.random() < 0.4:
        # Early, and for long: only then time, or a pill, is the proof.
        found.append(Fault(at, "cut_off", (rng.choice(names[:2]), 40.0, True)))
    while at < LAST_AT_S:
        kind = rng.choices(list(kinds), weights)[0]
        found.append(Fault(round(at, 3), kind, kinds[kind](rng, names, groups)))
        at += rng.random() * 2 * pace
    return tuple(found)


def _kinds_of(variant: Variant) -> "dict[str, Draw]":
    """What can happen to a cluster with these things only."""
    if variant.is_plain:
        return {}
    parts: tuple[tuple[object, tuple[str, ...]], ...] = (
        (True, ("hang_drivers", "hold", "repolicy")),
        (variant.disk, ("lose_disk", "lose_all_disks")),
        (variant.serial, ("lose_line",)),
        (variant.watchdog_s, ("unkillable", "retime", "dead_bmcs", "cut_off", "cut_off_more")),
        (variant.restores, ("restore",)),
    )
    return {kind: _MORE[kind] for has, kinds in parts if has for kind in kinds}


Draw = Callable[[random.Random, tuple[str, ...], tuple[str, ...]], tuple[Any, ...]]


def _length(rng: random.Random) -> float:
    return round(rng.choice(LENGTHS) * (0.7 + 0.6 * rng.random()), 3)


def _links(rng: random.Random, names: tuple[str, ...], groups: Any) -> tuple[Any, ...]:
    """Directed links with a length each: one server, a pair, halves, a ring, at random; one or
    both ways; healed together or one by one."""
    shape = rng.choice(("one", "one", "pair", "halves", "ring", "random"))
    shuffled = rng.sample(names, len(names))
    if shape == "one":
        pairs = [(shuffled[0], other) for other in shuffled[1:]]
    elif shape == "pair":
        pairs = [(shuffled[0], shuffled[1])]
    elif shape == "halves":
        middle = len(names) // 2
        pairs = [(a, b) for a in shuffled[:middle] for b in shuffled[middle:]]
    elif shape == "ring":
        ring = [*shuffled, shuffled[0]]
        kept = (
            {frozenset(ring[i : i + 2]) for i in range(len(shuffled))} if len(names) > 3 else set()
        )
        pairs = [(a, b) for a in names for b in names if a < b and frozenset((a, b)) not in kept]
        pairs = pairs or [(shuffled[0], shuffled[1])]
    else:
        pairs = [(a, b) for a in names for b in names if a < b and rng.random() < 0.5]
    ways = rng.choice(("both", "both", "out", "in"))
    paths = rng.choice((NETWORKS, NETWORKS, NETWORKS[:1], NETWORKS[1:], HEARTBEATS, HEARTBEATS[:1]))
    length, together = _length(rng), rng.random() < 0.5
    found = []
    for a, b in pairs:
        for link in ((a, b), (b, a)):
            if ways == "both" or link == ((a, b) if ways == "out" else (b, a)):
                for path in paths:
                    lasts = length if together else round(length * (0.5 + rng.random()), 3)
                    found.append((*link, path, lasts))
    return tuple(found)


_KINDS_OF_WISH = ("move", "move", "move", "stop", "start", "fence")


def _wish(rng: random.Random, names: tuple[str, ...], groups: tuple[str, ...]) -> tuple[Any, ...]:
    kind = rng.choice(_KINDS_OF_WISH)
    if kind == "fence":
        return kind, f"server/{rng.choice(names)}", None
    to = rng.choice((None, *names)) if kind != "stop" else None
    return kind, f"group/{rng.choice(groups)}", to


_DRAW: dict[str, Draw] = {
    "power": lambda r, n, _: (r.choice(n), r.choice((None, 0.5, 5.0, 20.0))),
    "power_two": lambda r, n, _: (*r.sample(n, 2), r.choice((0.0, 0.3, 5.0)), _length(r)),
    "crash_agent": lambda r, n, _: (r.choice(n),),
    "hang_agent": lambda r, n, _: (r.choice(n), _length(r)),
    "kill_pulse": lambda r, n, _: (r.choice(n), r.choice((0.3, 1.0, 8.0))),
    "freeze": lambda r, n, _: (r.choice(n), _length(r)),
    "freeze_coordinator": lambda r, _, __: (_length(r),),
    "cut": _links,
    "cut_more": _links,
    "bmc": lambda r, n, _: (r.choice(n), r.choice(("ok", *MODES)), r.choice((5.0, 40.0))),
    "slow_drivers": lambda r, n, _: (r.choice(n), r.choice((1.0, 9.0, 25.0)), _length(r)),
    "bad_drivers": lambda r, n, _: (r.choice(n), _length(r)),
    "bad_stops": lambda r, n, _: (r.choice(n), _length(r)),
    "unclear": lambda r, n, _: (r.choice(n), _length(r)),
    "dies": lambda r, n, g: (r.choice(n), f"{r.choice(g)}-{r.randrange(2)}"),
    "disk_full": lambda r, n, _: (r.choice(n), _length(r)),
    "wish": _wish,
    "wish_more": _wish,
    "stall": lambda r, *_: (r.choice((0.5, 2.0, 8.0, 20.0)),),
    "lag": lambda r, n, _: (r.choice(n), r.choice((0.3, 3.0, 12.0)), _length(r)),
    "compact": lambda *_: (),
    "apply": lambda r, n, _: (r.choice(n),),
}

_MORE: dict[str, Draw] = {
    "hang_drivers": lambda r, n, _: (r.choice(n), _length(r)),
    "hold": lambda r, n, _: (r.choice(n), r.choice((5.0, 20.0))),
    "repolicy": lambda r, _, g: (r.choice(g), r.choice(("keep", "stop"))),
    "lose_disk": lambda r, n, _: (r.choice(n), _length(r)),
    "lose_all_disks": lambda r, *_: (_length(r),),
    "lose_line": lambda r, *_: (_length(r),),
    "unkillable": lambda r, n, _: (r.choice(n), _length(r)),
    "retime": lambda r, *_: r.choice(TERMS),
    "dead_bmcs": lambda *_: (40.0,),
    "cut_off": lambda r, n, _: (r.choice(n), r.choice((13.0, 25.0)), r.random() < 0.7),
    "cut_off_more": lambda r, n, _: (r.choice(n), 35.0, r.random() < 0.7),
    "restore": lambda r, *_: (r.choice((0.5, 4.0, 15.0)), r.choice((0.5, 5.0, 20.0))),
}


def carry_out(cluster: SimCluster, fault: Fault) -> None:
    cluster.world.note("fault", kind=fault.kind, args=fault.args)
    KINDS[fault.kind](cluster, *fault.args)


def _later(cluster: SimCluster, delay: float, what: Callable[..., None], *args: Any) -> None:
    cluster.loop.call_later(delay, what, *args, context=Context())


def _power(cluster: SimCluster, name: str, back: float | None) -> None:
    cluster.set_power(name, False)
    if back is not None:
        _later(cluster, back, cluster.set_power, name, True)


def _power_two(cluster: SimCluster, a: str, b: str, gap: float, back: float) -> None:
    _power(cluster, a, back)
    _later(cluster, gap, _power, cluster, b, back)


def _hang_agent(cluster: SimCluster, name: str, length: float) -> None:
    cluster.hang_agent(name)
    _later(cluster, length, cluster.unhang_agent, name)


def _freeze(cluster: SimCluster, name: str, length: float) -> None:
    cluster.freeze(name)
    _later(cluster, length, cluster.unfreeze, name)


def _freeze_coordinator(cluster: SimCluster, length: float) -> None:
    name = cluster.coordinator()
    if name is not None:
        _freeze(cluster, name, length)


def _cut(cluster: SimCluster, *links: tuple[str, str, str, float]) -> None:
    for a, b, path, length in links:
        cluster.cut(a, b, path)
        _later(cluster, length, cluster.heal, a, b, path)


def _bmc(cluster: SimCluster, name: str, mode: str, length: float) -> None:
    cluster.world.hosts[name].bmc = mode
    _later(cluster, length, setattr, cluster.world.hosts[name], "bmc", "ok")


def _dead_bmcs(cluster: SimCluster, length: float) -> None:
    for name in cluster.names:
        _bmc(cluster, name, "dead", length)


def _cut_off(cluster: SimCluster, name: str, length: float, disk: bool) -> None:
    """No network leads to it, nor to its BMC, nor perhaps from it to the disk."""
    if disk:
        _lose_disk(cluster, name, length)
    _bmc(cluster, name, "dead", length)
    others = [other for other in cluster.names if other != name]
    pairs = [(name, other) for other in others] + [(other, name) for other in others]
    _cut(cluster, *((a, b, path, length) for a, b in pairs for path in NETWORKS))


def _host_flag(flag: str, value: Any, normal: Any) -> Callable[..., None]:
    def set_flag(cluster: SimCluster, name: str, *args: float) -> None:
        host = cluster.world.hosts[name]
        setattr(host, flag, args[0] if value is None else value)
        _later(cluster, args[-1], setattr, host, flag, normal)

    return set_flag


def _disk_full(cluster: SimCluster, name: str, length: float) -> None:
    disk = cluster.world.hosts[name].disk
    disk["full"] = True
    _later(cluster, length, disk.update, {"full": False})


def _dies(cluster: SimCluster, name: str, resource: str) -> None:
    cluster.world.stop_resource(name, resource, "itself")


def _wishes(cluster: SimCluster, kind: str, target: str, to: str | None) -> None:
    cluster.operate(OperationKind(kind), target, to)


def _stall(cluster: SimCluster, length: float) -> None:
    cluster.world.store_stall_until = cluster.loop.now + length


def _lag(cluster: SimCluster, name: str, behind: float, length: float) -> None:
    cluster.world.lag[name] = behind
    _later(cluster, length, cluster.world.lag.pop, name, None)


def _trouble(cluster: SimCluster, share: float) -> None:
    cluster.world.store_trouble, cluster.world.store_trouble_at = share, cluster.loop.now


def _compact(cluster: SimCluster) -> None:
    cluster.world.state.compact(max(1, cluster.world.state.revision - 1))


def _hold(cluster: SimCluster, name: str, for_s: float) -> None:
    cluster.operate(OperationKind.HOLD, f"server/{name}", for_s=for_s)


def _change(cluster: SimCluster, /, **changes: Any) -> None:
    """Other models behind the texts of the next apply."""
    revision = cluster.specs.revision + 1
    cluster.specs = replace(cluster.specs, revision=revision, **changes)
    cluster.apply(cluster.world.rng.choice(cluster.names))


def _repolicy(cluster: SimCluster, group: str, policy: str) -> None:
    old = cluster.specs.groups[group]
    by_time = policy == "stop" and cluster.world.variant.expires
    proofs = tuple(proof for proof in EVERY_PROOF if by_time or proof != "expired")
    changed = {"on_store_loss": policy, "proofs": proofs}
    new = old.model_copy(update={"spec": old.spec.model_copy(update=changed)})
    _change(cluster, groups={**cluster.specs.groups, group: new})


def _retime(cluster: SimCluster, dead_man_s: float, watchdog_s: float) -> None:
    variant = replace(cluster.world.variant, dead_man_s=dead_man_s, watchdog_s=watchdog_s)
    made = make_specs(cluster.names, cluster.groups, variant)
    _change(cluster, cluster=made.cluster, servers=made.servers)


def _lose_disk(cluster: SimCluster, name: str, length: float) -> None:
    cluster.cut_disk(name)
    _later(cluster, length, cluster.heal_disk, name)


def _lose_all_disks(cluster: SimCluster, length: float) -> None:
    for name in cluster.names:
        _lose_disk(cluster, name, length)


def _lose_line(cluster: SimCluster, length: float) -> None:
    a, b = cluster.names[:2]
    _cut(cluster, (a, b, SERIAL, length), (b, a, SERIAL, length))


def _unkillable(cluster: SimCluster, name: str, length: float) -> None:
    cluster.set_unkillable(name, True)
    _later(cluster, length, cluster.set_unkillable, name, False)


def _restore(cluster: SimCluster, age: float, said_after: float) -> None:
    """A backup is taken now, and is what the store is `age` later; once in a run."""
    if cluster.world.restored:
        return
    cluster.world.restored = True
    values, revision = restoring.back_up(cluster), cluster.world.state.revision
    _later(cluster, age, restoring.restore, cluster, values, revision)
    restoring.later(cluster, age + said_after)


KINDS: dict[str, Callable[..., None]] = {
    "power": _power,
    "power_two": _power_two,
    "crash_agent": lambda c, name: c.crash_agent(name),
    "hang_agent": _hang_agent,
    "kill_pulse": lambda c, name, length: c.kill_pulse(name, length),
    "freeze": _freeze,
    "freeze_coordinator": _freeze_coordinator,
    "cut": _cut,
    "cut_more": _cut,
    "bmc": _bmc,
    "slow_drivers": _host_flag("slow_drivers_s", None, 0.0),
    "bad_drivers": _host_flag("failing_drivers", True, False),
    "bad_stops": _host_flag("failing_stops", True, False),
    "unclear": _host_flag("unclear", True, False),
    "dies": _dies,
    "disk_full": _disk_full,
    "wish": _wishes,
    "wish_more": _wishes,
    "stall": _stall,
    "lag": _lag,
    "trouble": _trouble,
    "compact": _compact,
    "apply": lambda c, name: c.apply(name),
    "hang_drivers": _host_flag("hung_drivers", True, False),
    "hold": _hold,
    "repolicy": _repolicy,
    "lose_disk": _lose_disk,
    "lose_all_disks": _lose_all_disks,
    "lose_line": _lose_line,
    "unkillable": _unkillable,
    "retime": _retime,
    "dead_bmcs": _dead_bmcs,
    "cut_off": _cut_off,
    "cut_off_more": _cut_off,
    "restore": _restore,
}


def end_all(cluster: SimCluster) -> None:
    """No fault is in force any more; machines that are off are switched on."""
    world = cluster.world
    _trouble(cluster, 0.0)
    world.store_stall_until = 0.0
    world.lag.clear()
    for link in sorted(world.broken):
        cluster.heal(*link)
    for name in cluster.names:
        cluster.heal_disk(name)
        cluster.set_unkillable(name, False)
        cluster.unfreeze(name)
        cluster.unhang_agent(name)
        host = world.hosts[name]
        host.bmc, host.slow_drivers_s, host.disk["full"], host.unclear = "ok", 0.0, False, False
        host.failing_drivers = host.failing_stops = host.failing_starts = False
        host.hung_drivers = False
        cluster._start_pulse(name, host.boot)
        if not host.powered:
            cluster.set_power(name, True)
    world.calm = True
    world.note("calm")
