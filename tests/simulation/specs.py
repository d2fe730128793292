"""Specs of a simulated cluster, and their way through the real repository.

Each object's text carries the number of its apply, so that parts of two applies would show. Texts
are not parsed as YAML: `make_specs` makes the models that they stand for.
"""

import json
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from reconciler.decide.snapshot import Specs
from reconciler.loops.specs import RETRY_S
from reconciler.ports.store import Indeterminate, Store, StoreError
from reconciler.repository import RepositoryError, SpecRepository
from specs.cluster import Cluster
from specs.document import Metadata
from specs.group import Group
from specs.resource import Resource, ResourceSpec
from specs.server import Server
from tests.simulation.facts import Applied, SpecsRead
from tests.simulation.variants import EVERY_PROOF, PLAIN, Variant
from tests.simulation.virtual_time import SimClock

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster

RESOURCES_PER_GROUP = 2
OBJECTS = ("Cluster/sim", "Group/a", "Group/b")


class SimResource(ResourceSpec):
    """A resource without settings; its name doubles as the address it answers for."""

    type: Literal["simulated"] = "simulated"
    name: str
    level: int = 60

    def addresses(self) -> tuple[str, ...]:
        return (self.name,)


def read_resource(spec: Mapping[str, Any]) -> Resource:
    resource = dict(spec)
    resource["spec"] = SimResource.model_validate(resource["spec"])
    return Resource.model_validate(resource)


@lru_cache(maxsize=8)
def make_specs(
    names: tuple[str, ...], groups: tuple[str, ...], variant: Variant = PLAIN, revision: int = 1
) -> Specs:
    """`names` servers, each group on all of them starting with another one."""
    networks = [
        {"name": "private", "cidr": "10.0.1.0/24"},
        {"name": "public", "cidr": "10.0.2.0/24"},
    ]
    cluster = Cluster.model_validate(
        {
            "metadata": {"name": "sim"},
            "spec": {
                "networks": networks,
                "startupBarrier": "20s",
                "heartbeatPaths": variant.paths(names),
                "timing": {"deadMan": f"{variant.dead_man_s:g}s"},
            },
        }
    )
    servers = {}
    for i, name in enumerate(names, 1):
        levels = [{"type": "simulated", "server": name, "guid": f"guid-{name}"}]
        if variant.mailbox_s:
            levels.append({"type": "poison-pill", "server": name})
        spec: dict[str, Any] = {
            "addresses": {"private": f"10.0.1.{i}", "public": f"10.0.2.{i}"},
            "fencing": {"levels": levels},
        }
        if variant.watchdog_s:
            spec["watchdog"] = {"timeout": f"{variant.watchdog_s:g}s"}
        servers[name] = Server.model_validate({"metadata": {"name": name}, "spec": spec})
    found: dict[str, Group] = {}
    resources: dict[str, Resource] = {}
    for number, group in enumerate(groups):
        order = names[number % len(names) :] + names[: number % len(names)]
        spec = {"servers": list(order), "failover": {"maxFailures": 100}}
        if group in variant.stop:
            spec["onStoreLoss"] = "stop"
            spec |= {"proofs": list(EVERY_PROOF)} if variant.expires else {}
        if variant.exclusive:
            spec["exclusion"] = "require"
        found[group] = Group.model_validate({"metadata": {"name": group}, "spec": spec})
        for index in range(RESOURCES_PER_GROUP):
            name = f"{group}-{index}"
            resources[name] = Resource(
                metadata=Metadata(name=name),
                spec=SimResource(group=group, name=name, level=10 + 50 * index),
            )
    return Specs(revision, cluster, servers, {}, found, resources)


def texts(number: int) -> dict[str, str]:
    return {name: json.dumps({"object": name, "number": number}) for name in OBJECTS}


class SimSpecs:
    """`ports.specs.SpecSource`: the head of the real repository, read as the agent reads it."""

    def __init__(self, cluster: "SimCluster", server: str, store: Store, clock: SimClock) -> None:
        self._cluster, self._server, self._clock, self._store = cluster, server, clock, store
        self._repository = SpecRepository(store, cluster.keys, wall=clock.wall)
        self._seen = (0, 0)

    async def changes(self) -> AsyncIterator[Specs]:
        async for batch in self._store.watch(self._cluster.keys.head):
            if batch.stale_reason is not None:
                continue
            if batch.changes and await self._read():
                pass
            # A story may change the models behind the texts.
            now = (self._seen[0], self._cluster.specs.revision)
            if self._seen[0] and now != self._seen:
                self._seen = now
                yield self._cluster.specs

    async def _read(self) -> bool:
        while True:
            try:
                stored = await self._repository.read()
            except (StoreError, RepositoryError):
                await self._clock.sleep(RETRY_S)
                continue
            if stored.revision in (0, self._seen[0]):
                return False
            numbers = tuple(json.loads(o.text)["number"] for o in stored.objects.values())
            world = self._cluster.world
            world.note("specs_read", server=self._server, revision=stored.revision)
            world.emit(SpecsRead(world.loop.now, self._server, stored.revision, numbers))
            self._seen = (stored.revision, -1)
            return True


async def apply(cluster: "SimCluster", store: Store, number: int) -> None:
    """An administrator's `apply` over this store; what became of it is a fact."""
    world = cluster.world
    repository = SpecRepository(store, cluster.keys, wall=SimClock(cluster.loop).wall)
    revision: int | None = None
    try:
        head = await repository.head()
        revision = await repository.apply(
            texts(number), source="sim", author="sim", message="", expected_head=head
        )
    except Indeterminate:
        world.emit(Applied(world.loop.now, number, None))
    except (StoreError, RepositoryError) as error:
        world.note("apply_failed", number=number, error=str(error))
    else:
        world.emit(Applied(world.loop.now, number, revision))
        world.note("applied", number=number, revision=revision)
