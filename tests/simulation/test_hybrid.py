"""Hybrid disks on the real loops in virtual time: whatever fails, one server at most of each server
group has the disk that the group shares, and in the end both roles are filled.

`python -m tests.simulation.test_hybrid FIRST:LAST` plays more seeds.
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.decide import standby_side
from reconciler.decide.records import OperationKind
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.standby_side import with_standby_sides
from specs.document import Metadata
from specs.group import Group
from specs.resource import STANDBY_SUFFIX, Resource, ResourceSpec
from specs.server_group import ServerGroup
from tests.simulation.cluster import SimCluster
from tests.simulation.facts import Down, Fact, Up
from tests.simulation.faults import carry_out, draw, end_all
from tests.simulation.invariants.base import Handler, Invariant
from tests.simulation.play import Outcome, Story, never, play, until
from tests.simulation.specs import SimResource

SITES = {"left": ("n1", "n2"), "right": ("n3", "n4", "n5")}
GROUP, DISK = "a", "a-0"
FOLLOWS = GROUP + STANDBY_SUFFIX
CALM_S = 90.0


class SimHybrid(SimResource):
    """A disk that is mirrored between the two server groups."""

    def following(self, name: str) -> ResourceSpec:
        fields = {"group": self.group + STANDBY_SUFFIX, "name": name + STANDBY_SUFFIX}
        return SimResource(level=self.level, **fields)


class OneHolder(Invariant):
    """Of each server group one server at most has its disk, in whichever role."""

    name = "one_holder"

    def __init__(self) -> None:
        self._active: set[tuple[str, str]] = set()

    def handlers(self) -> dict[type[Fact], Handler]:
        return {Up: self._up, Down: self._down}

    def _up(self, fact: Up) -> str | None:
        if fact.resource not in (DISK, DISK + STANDBY_SUFFIX):
            return None
        self._active.add((fact.resource, fact.server))
        site = next(servers for servers in SITES.values() if fact.server in servers)
        holders = {server for _, server in self._active if server in site}
        if len(holders) > 1:
            return f"{fact.resource} starts on {fact.server}: {sorted(holders)} have one disk"
        return None

    def _down(self, fact: Down) -> None:
        self._active.discard((fact.resource, fact.server))


def make_hybrid(cluster: SimCluster) -> None:
    cluster.world.watch(OneHolder())
    specs = cluster.specs
    groups, resources = dict(specs.groups), dict(specs.resources)
    spec = {"serverGroups": list(SITES), "failover": {"maxFailures": 100}}
    groups[GROUP] = Group.model_validate({"metadata": {"name": GROUP}, "spec": spec})
    disk = SimHybrid(group=GROUP, name=DISK, level=10)
    resources[DISK] = Resource(metadata=Metadata(name=DISK), spec=disk)
    sites = {
        name: ServerGroup.model_validate(
            {"metadata": {"name": name}, "spec": {"servers": list(servers)}}
        )
        for name, servers in SITES.items()
    }
    cluster.specs = with_standby_sides(
        replace(specs, server_groups=sites, groups=groups, resources=resources)
    )


def both_roles_are_filled(cluster: SimCluster) -> bool:
    """On different sides, each whole on its owner."""
    owners = {name: cluster.owner(name) for name in (GROUP, GROUP + STANDBY_SUFFIX)}
    sites = {
        site for site, servers in SITES.items() for owner in owners.values() if owner in servers
    }
    active = {(name, host.name) for host in cluster.world.hosts.values() for name in host.active}
    serving, following = owners[GROUP], owners[GROUP + STANDBY_SUFFIX]
    wanted = {(DISK, serving), ("a-1", serving), (DISK + STANDBY_SUFFIX, following)}
    found = {(name, server) for name, server in active if name.startswith(GROUP)}
    return len(sites) == len(SITES) and found == wanted


async def chaos(cluster: SimCluster, seed: int) -> None:
    make_hybrid(cluster)
    loop = cluster.loop
    for name in cluster.names:
        loop.call_later(loop.rng.random() * 5, cluster.set_power, name, True)
    groups = (*cluster.groups, GROUP + STANDBY_SUFFIX)
    for fault in draw(seed, cluster.names, groups):
        await until_then(cluster, fault.at)
        carry_out(cluster, fault)
    end_all(cluster)
    await until_then(cluster, loop.now + 3.0)
    for group in groups:
        cluster.operate(OperationKind.CLEAR, f"group/{group}")
        cluster.operate(OperationKind.START, f"group/{group}")
    filled = lambda: both_roles_are_filled(cluster)  # noqa: E731
    await until(cluster, filled, "both roles are filled", within_s=CALM_S)


async def until_then(cluster: SimCluster, at: float) -> None:
    while cluster.loop.now < at:
        await asyncio.sleep(min(0.25, at - cluster.loop.now))
        cluster.check()


def run_seed(seed: int) -> Outcome:
    return play(seed, lambda cluster: chaos(cluster, seed), size=5)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, 20))]
)
def test_no_fault_gives_one_disk_to_two_servers(seed: int) -> None:
    outcome = run_seed(seed)
    assert outcome.violation is None, (outcome.violation, outcome.trace[-20:])


async def right_follows_on_n4(cluster: SimCluster) -> None:
    """All is up; an operator moved the standby role from n3, which comes first, to n4."""
    make_hybrid(cluster)
    for name in cluster.names:
        cluster.set_power(name, True)
    filled = lambda: both_roles_are_filled(cluster)  # noqa: E731
    await until(cluster, filled, "all is up")
    cluster.operate(OperationKind.MOVE, f"group/{FOLLOWS}", to="n4")
    moved = lambda: cluster.owner(FOLLOWS) == "n4" and filled()  # noqa: E731
    await until(cluster, moved, "n4 follows")


async def the_left_side_is_lost(cluster: SimCluster) -> None:
    await right_follows_on_n4(cluster)
    for name in SITES["left"]:
        cluster.set_power(name, False)
    on_n4 = lambda: DISK in cluster.world.hosts["n4"].active  # noqa: E731
    await until(cluster, on_n4, "n4 serves")


async def the_left_side_is_lost_and_n4_is_cut_off(cluster: SimCluster) -> None:
    """Nobody knows what n4 does, and its BMC is dead: nobody else touches its disk."""
    await right_follows_on_n4(cluster)
    serving = str(cluster.owner(GROUP))
    other = next(name for name in SITES["left"] if name != serving)
    cluster.operate(OperationKind.DRAIN, f"server/{other}")
    await until_then(cluster, cluster.loop.now + 5.0)
    cluster.world.hosts["n4"].bmc = "dead"
    for name in cluster.names:
        for path in cluster.paths():
            if name != "n4":
                cluster.cut("n4", name, path)
                cluster.cut(name, "n4", path)
    cluster.set_power(serving, False)
    elsewhere = lambda: any(  # noqa: E731
        DISK in cluster.world.hosts[name].active for name in ("n3", "n5")
    )
    await never(cluster, elsewhere, "a second server has the disk of n4", for_s=20.0)


STORIES = (the_left_side_is_lost, the_left_side_is_lost_and_n4_is_cut_off)


@pytest.mark.parametrize("story", STORIES)
def test_the_current_server_has_its_disk_alone(story: Story) -> None:
    outcome = play(1, story, size=5)
    assert outcome.violation is None, (outcome.violation, outcome.trace[-20:])


def _ignored(
    snapshot: Snapshot, group: str, server: str, owners: Mapping[str, str], **more: bool
) -> str | None:
    if group == GROUP:
        return None
    return standby_side.held_back(snapshot, group, server, owners, **more)


def test_a_rule_that_is_missing_gives_one_disk_to_two_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reconciler.decide.placement.held_back", _ignored)
    outcome = play(1, the_left_side_is_lost, size=5)
    assert "one_holder" in (outcome.violation or "")


def test_a_silent_server_that_counts_as_stopped_gives_its_disk_to_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standby_side, "is_over", lambda *_: True)
    outcome = play(1, the_left_side_is_lost_and_n4_is_cut_off, size=5)
    assert "one_holder" in (outcome.violation or "")


def main() -> int:
    first, last = (int(part) for part in sys.argv[1].split(":"))
    bad = 0
    for seed in range(first, last):
        outcome = run_seed(seed)
        if outcome.violation:
            bad += 1
            sys.stdout.write(f"{seed}: {outcome.violation}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{last - first} seeds, {bad} violations\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
