"""A simulated cluster: servers that boot, run the real agent loops, crash and come back."""

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from reconciler.adapters.memory import MemoryStore, WatchTiming
from reconciler.decide.keys import Keys
from reconciler.decide.records import Operation, OperationKind
from reconciler.decide.snapshot import Specs
from reconciler.loops.agent_loops import AgentLoops
from reconciler.loops.state import AgentState
from reconciler.ports.store import Put, Transaction
from specs.cluster import Cluster
from specs.document import Metadata
from specs.group import Group
from specs.resource import Resource, ResourceSpec
from specs.server import Server
from tests.simulation.checkers import ProofBeforeTakeover
from tests.simulation.ports import (
    SimDriver,
    SimLocalState,
    SimPeers,
    SimPower,
    SimProber,
    SimProbes,
)
from tests.simulation.virtual_time import SimClock, SimLoop
from tests.simulation.world import Violation, World

RESOURCES_PER_GROUP = 2
BIOS_S = 2.0
SUPERVISOR_S = 0.5


class SimResource(ResourceSpec):
    """A resource without settings; its name doubles as the address it answers for."""

    type: Literal["simulated"] = "simulated"
    name: str

    def addresses(self) -> tuple[str, ...]:
        return (self.name,)


def read_resource(spec: Mapping[str, Any]) -> Resource:
    resource = dict(spec)
    resource["spec"] = SimResource.model_validate(resource["spec"])
    return Resource.model_validate(resource)


def make_specs(names: tuple[str, ...], groups: tuple[str, ...], revision: int = 1) -> Specs:
    """`names` servers, each group on all of them starting with another one."""
    cluster = Cluster.model_validate(
        {
            "metadata": {"name": "sim"},
            "spec": {
                "networks": [
                    {"name": "private", "cidr": "10.0.1.0/24"},
                    {"name": "public", "cidr": "10.0.2.0/24"},
                ],
                "startupBarrier": "20s",
            },
        }
    )
    servers = {
        name: Server.model_validate(
            {
                "metadata": {"name": name},
                "spec": {
                    "addresses": {"private": f"10.0.1.{i}", "public": f"10.0.2.{i}"},
                    "fencing": {
                        "levels": [
                            {"type": "simulated", "server": name, "guid": f"guid-{name}"},
                        ]
                    },
                },
            }
        )
        for i, name in enumerate(names, 1)
    }
    found: dict[str, Group] = {}
    resources: dict[str, Resource] = {}
    for number, group in enumerate(groups):
        order = names[number % len(names) :] + names[: number % len(names)]
        found[group] = Group.model_validate(
            {
                "metadata": {"name": group},
                "spec": {"servers": list(order), "failover": {"maxFailures": 100}},
            }
        )
        for index in range(RESOURCES_PER_GROUP):
            name = f"{group}-{index}"
            resources[name] = Resource(
                metadata=Metadata(name=name), spec=SimResource(group=group, name=name)
            )
    return Specs(revision, cluster, servers, {}, found, resources)


class SimEvents:
    def __init__(self, world: World, server: str) -> None:
        self._world, self._server = world, server

    def emit(self, name: str, /, **fields: Any) -> None:
        self._world.note(f"{self._server} {name}", **fields)


class SimMachine:
    def __init__(self, cluster: "SimCluster", server: str) -> None:
        self._cluster, self._server = cluster, server

    def boot_id(self) -> str:
        return self._cluster.world.hosts[self._server].boot_id

    async def reset(self, reason: str) -> None:
        self._cluster.world.note("reset", server=self._server, reason=reason)
        self._cluster.set_power(self._server, False)
        self._cluster.set_power(self._server, True)


class SimSpecs:
    def __init__(self, cluster: "SimCluster", clock: SimClock) -> None:
        self._cluster, self._clock = cluster, clock

    async def changes(self) -> AsyncIterator[Specs]:
        seen = 0
        while True:
            specs = self._cluster.specs
            if specs.revision != seen:
                seen = specs.revision
                yield specs
            await self._clock.sleep(0.2)


class SimCluster:
    """The world plus the agents in it. `set_power` is the BMC's hand and the power cord."""

    def __init__(self, loop: SimLoop, size: int = 3, groups: tuple[str, ...] = ("a", "b")) -> None:
        self.loop = loop
        self.names = tuple(f"n{i}" for i in range(1, size + 1))
        self.groups = groups
        self.keys = Keys("sim")
        self.world = World(loop, self.names)
        self.specs = make_specs(self.names, groups)
        self.checker = ProofBeforeTakeover(self.world, self.keys)
        self.violation: BaseException | None = None
        self.agents: dict[str, AgentLoops] = {}
        self._operations = 0

    def check(self) -> None:
        """Raises the first `Violation`; an agent that failed is one too."""
        if self.world.violations:
            raise Violation(self.world.violations[0])
        if self.violation is not None:
            raise Violation(f"agent failed: {self.violation!r}")

    # -- machines ----------------------------------------------------------------------------

    def set_power(self, server: str, on: bool) -> None:
        host = self.world.hosts[server]
        if on == host.powered:
            return
        host.powered = on
        self.world.note("power", server=server, on=on)
        self.loop.kill(f"bios-{server}-{host.boot}")
        if on:
            host.boot += 1
            host.memory = {}
            self.loop.spawn(f"bios-{server}-{host.boot}", self._boot(server, host.boot))
        else:
            self.world.died_at[server] = self.loop.now
            self._stop_agent(server)
            self.unfreeze(server)
            host.active.clear()
            self._maybe_stall_store()
        self.world.changed()

    async def _boot(self, server: str, boot: int) -> None:
        clock = SimClock(self.loop)
        host = self.world.hosts[server]
        host.pulse_up_since = self.loop.now + BIOS_S
        await clock.sleep(BIOS_S)
        if host.boot == boot and host.powered:
            self.world.changed()
            self.start_agent(server)

    def _maybe_stall_store(self) -> None:
        """The leader may have been there: an election takes its time."""
        if self.world.rng.random() < 0.4:
            self.world.store_stall_until = self.loop.now + self.world.rng.random() * 1.5

    # -- agents ------------------------------------------------------------------------------

    def start_agent(self, server: str) -> None:
        host = self.world.hosts[server]
        host.agent += 1
        host.incarnation = f"{server}#{host.boot}.{host.agent}"
        self.loop.spawn(host.incarnation, self._run_agent(server))

    def _stop_agent(self, server: str) -> None:
        host = self.world.hosts[server]
        if host.incarnation:
            self.loop.resume(host.incarnation)
            self.loop.kill(host.incarnation)
        host.incarnation = ""

    def crash_agent(self, server: str) -> None:
        """kill -9 of the agent alone; its supervisor starts it again."""
        if self.world.hosts[server].incarnation:
            self._stop_agent(server)
            boot = self.world.hosts[server].boot
            self.loop.spawn(f"bios-{server}-{boot}", self._restart_agent(server, boot))

    async def _restart_agent(self, server: str, boot: int) -> None:
        host = self.world.hosts[server]
        await SimClock(self.loop).sleep(SUPERVISOR_S + self.world.rng.random())
        if host.boot == boot and host.powered and not host.incarnation:
            self.start_agent(server)

    async def _run_agent(self, server: str) -> None:
        world, host = self.world, self.world.hosts[server]
        rng = random.Random(self.loop.rng.getrandbits(64))
        clock = SimClock(self.loop, rate=rng.uniform(0.97, 1.03), offset=rng.random() * 1000)
        store = MemoryStore(
            world.state,
            clock,
            world.client_faults(server),
            servers=self.names,
            watch_timing=WatchTiming(),
        )
        state = AgentState(
            me=server,
            keys=self.keys,
            clock=clock,
            store=store,
            peers=SimPeers(world, server, clock, self.specs.timing),
            machine=SimMachine(self, server),
            events=SimEvents(world, server),
            local_state=SimLocalState(host.disk, host.memory),
            rng=rng,
        )
        loops = AgentLoops(
            state,
            make_driver=lambda resource: SimDriver(world, server, resource, clock),
            read_resource=read_resource,
            specs=SimSpecs(self, clock),
            power=SimPower(world, clock, self.set_power),
            prober=SimProber(world, server, clock),
            version="simulated",
            on_specs=lambda _: None,
            take_sample=SimProbes(world, server, clock).sample,
        )
        self.agents[server] = loops
        try:
            await loops.run()
        except BaseExceptionGroup as group:
            self.violation = self.violation or _first(group)
            world.note("agent_failed", server=server, error=repr(_first(group)))

    # -- faults that are not power ---------------------------------------------------------------

    def freeze(self, server: str) -> None:
        """The whole machine stands still; what runs there stays, time goes on."""
        host = self.world.hosts[server]
        if host.powered and server not in self.world.frozen:
            self.world.frozen[server] = self.loop.now
            if host.incarnation:
                self.loop.paused.add(host.incarnation)
            self.world.changed()

    def unfreeze(self, server: str) -> None:
        if self.world.frozen.pop(server, None) is not None:
            host = self.world.hosts[server]
            for name in self.names:
                for network in ("private", "public"):
                    self.world.healed[server, name, network] = self.loop.now
            self.loop.resume(host.incarnation)
            self.world.changed()

    def cut(self, a: str, b: str, network: str) -> None:
        self.world.broken.setdefault((a, b, network), self.loop.now)
        self.world.changed()

    def heal(self, a: str, b: str, network: str) -> None:
        if self.world.broken.pop((a, b, network), None) is not None:
            self.world.healed[a, b, network] = self.loop.now
            self.world.changed()

    def operate(
        self, kind: OperationKind, target: str, to: str | None = None, boot_id: str | None = None
    ) -> str:
        """What an operator's command stores; the operation's id."""
        self._operations += 1
        name = f"{self._operations:026d}"
        record = Operation(
            id=name,
            kind=kind,
            target=target,
            to=to,
            boot_id=boot_id,
            who="sim",
            created_wall=self.loop.now,
        )
        self.world.note("operation", kind=kind.value, target=target, to=to)
        self.world.state.commit(
            Transaction((), (Put(self.keys.operation(name), record.to_bytes()),))
        )
        return name


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The violation if there is one, else the first error."""
    found: list[BaseException] = []
    for error in group.exceptions:
        inner = _first(error) if isinstance(error, BaseExceptionGroup) else error
        found.append(inner)
    return next((e for e in found if isinstance(e, Violation)), found[0])
