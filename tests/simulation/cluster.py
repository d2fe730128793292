"""A simulated cluster: servers that boot, run the real agent loops, crash and come back."""

import asyncio
import random
from contextvars import Context
from typing import Any

from reconciler import repository
from reconciler.adapters.memory import MemoryStore, WatchTiming
from reconciler.decide.keys import Keys
from reconciler.decide.records import Coordinator, Operation, OperationKind, Ownership
from reconciler.loops.agent_loops import AgentLoops
from reconciler.loops.state import AgentState
from reconciler.ports.store import Delete, Put, StoreError, Transaction
from tests.simulation import specs as spec_texts
from tests.simulation.care import SimCare
from tests.simulation.devices import SimPower, SimProber
from tests.simulation.ears import NETWORKS, path_of_heartbeats
from tests.simulation.facts import Disk, End, Frozen, Powered, Pulse, Tick, Unkillable
from tests.simulation.invariants.convergence import Convergence
from tests.simulation.machine import SimEvents, SimMachine
from tests.simulation.ports import SimDriver, SimLocalState, SimProbes
from tests.simulation.pulse import SimPeers, run_pulse
from tests.simulation.specs import RESOURCES_PER_GROUP, SimSpecs, make_specs, read_resource
from tests.simulation.store import SimStore
from tests.simulation.variants import DISK, PLAIN, Variant
from tests.simulation.virtual_time import SimClock, SimLoop
from tests.simulation.world import Violation, World

BIOS_S = 2.0
SUPERVISOR_S = 0.5
SWITCH_ON_S = 3.0
CLOCK_RATES = (0.9, 1.1)


class SimCluster:
    """The world plus the agents in it. `set_power` is the BMC's hand and the power cord."""

    def __init__(
        self,
        loop: SimLoop,
        size: int = 3,
        groups: tuple[str, ...] = ("a", "b"),
        variant: Variant = PLAIN,
    ) -> None:
        self.loop = loop
        self.names = tuple(f"n{i}" for i in range(1, size + 1))
        self.groups = groups
        self.keys = Keys("sim")
        self.world = World(loop, self.names, variant)
        self.world.set_power = self.set_power
        self.specs = make_specs(self.names, groups, variant)
        self.violation: BaseException | None = None
        self.agents: dict[str, AgentLoops] = {}
        self.applied = 0
        self._operations = 0
        self.unstored: set[str] = set()
        # Its pauses come from the system's randomness otherwise.
        repository._JITTER = loop.rng  # type: ignore[assignment]

    def check(self) -> None:
        """Raises the first `Violation`; an agent that failed is one too."""
        self.world.tell_majorities()
        self.world.emit(Tick(self.loop.now, self._runs(), self.world.calm))
        if self.world.violations:
            raise Violation(self.world.violations[0])
        if self.violation is not None:
            raise Violation(f"agent failed: {self.violation!r}")

    def _runs(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found = []
        for group in self.groups:
            whole = tuple(n for n in self.names if self._is_whole(group, n))
            found.append((group, whole))
        return tuple(found)

    def _is_whole(self, group: str, server: str) -> bool:
        active = self.world.hosts[server].active
        return all(f"{group}-{i}" in active for i in range(RESOURCES_PER_GROUP))

    def end(self) -> End:
        """How everything is now."""
        active = tuple(
            (name, host.name, running.epoch)
            for host in self.world.hosts.values()
            for name, running in sorted(host.active.items())
        )
        wanted = tuple((f"{g}-{i}", g) for g in self.groups for i in range(RESOURCES_PER_GROUP))
        return End(self.loop.now, active, wanted, self.names)

    def is_converged(self) -> bool:
        """Every group runs whole on its owner, and nothing else runs."""
        found = {(n, h.name) for h in self.world.hosts.values() for n in h.active}
        owners = {g: self.owner(g) for g in self.groups}
        wanted = {(f"{g}-{i}", o) for g, o in owners.items() for i in range(RESOURCES_PER_GROUP)}
        return found == wanted

    def is_at_rest(self) -> bool:
        """Every server has its session, and nothing is written any more."""
        convergence = self.world.invariants["convergence"]
        if not isinstance(convergence, Convergence):
            return False
        return convergence.has_sessions(self.names) and convergence.at_rest(self.loop.now)

    def owner(self, group: str) -> str | None:
        record = self.world.state.record(self.keys.group(group))
        return record.owner if isinstance(record, Ownership) else None

    def coordinator(self) -> str | None:
        record = self.world.state.record(self.keys.coordinator)
        return record.server if isinstance(record, Coordinator) else None

    # -- machines ----------------------------------------------------------------------------

    def set_power(self, server: str, on: bool, by: str = "cord") -> None:
        host = self.world.hosts[server]
        if on == host.powered:
            return
        host.powered = on
        self.world.machines_at = self.loop.now
        self.world.note("power", server=server, on=on, by=by)
        self._end(server, "bios", "pulse", "agent")
        if on:
            host.boot += 1
            host.memory, host.pulse = {}, None
            host.proof_at = float("-inf")
            drawn = self.world.rng.uniform(*CLOCK_RATES)
            rate = self.world.clock_rates.get(server, drawn)
            host.clock = SimClock(self.loop, rate, self.world.rng.random() * 1000)
            host.pulse_up_since = self.loop.now + BIOS_S
            self._begin(server, "bios", self._boot(server))
        else:
            self._falls_silent(server)
            host.booted, host.pulse_down, host.hardware = False, False, None
            self.unfreeze(server)
            self.world.stop_everything(server, "power")
        self.world.emit(Powered(self.loop.now, server, on, host.boot_id, by))
        self.world.changed()

    async def _boot(self, server: str) -> None:
        host = self.world.hosts[server]
        await SimClock(self.loop).sleep(BIOS_S)
        host.booted = True
        self.world.machines_at = self.loop.now
        self._begin(server, "pulse", run_pulse(self.world, server))
        self.world.changed()
        self.start_agent(server)

    def _begin(self, server: str, what: str, work: Any) -> None:
        """A process of this machine; it ends, and stands still, with it."""
        host = self.world.hosts[server]
        host.agent += 1
        host.incarnations[what] = f"{server}#{host.boot}.{what}.{host.agent}"
        self.loop.spawn(host.incarnations[what], work)

    def _end(self, server: str, *whats: str) -> None:
        for what in whats:
            incarnation = self.world.hosts[server].incarnations.pop(what, "")
            if incarnation:
                self.loop.resume(incarnation)
                self.loop.kill(incarnation)

    # -- processes ---------------------------------------------------------------------------

    def start_agent(self, server: str) -> None:
        self.world.hosts[server].agent_since = self.loop.now
        self._begin(server, "agent", self._run_agent(server))

    def crash_agent(self, server: str) -> None:
        """kill -9 of the agent alone; its supervisor starts it again."""
        if self.world.hosts[server].incarnations.get("agent"):
            self._end(server, "agent", "bios")
            self._begin(server, "bios", self._restart_agent(server))
            if server in self.world.frozen:
                self.loop.paused.update(self.world.hosts[server].incarnations.values())

    async def _restart_agent(self, server: str) -> None:
        await SimClock(self.loop).sleep(SUPERVISOR_S + self.world.rng.random())
        self.start_agent(server)

    def hang_agent(self, server: str) -> None:
        """SIGSTOP of the agent alone: its pulse goes on."""
        incarnation = self.world.hosts[server].incarnations.get("agent")
        if incarnation:
            self.loop.paused.add(incarnation)

    def unhang_agent(self, server: str) -> None:
        incarnation = self.world.hosts[server].incarnations.get("agent")
        if incarnation and server not in self.world.frozen:
            self.loop.resume(incarnation)

    def _falls_silent(self, server: str) -> None:
        """Who was silent already sends no last heartbeat when it dies."""
        world, since = self.world, [self.loop.now]
        if world.hosts[server].pulse_down:
            since.append(world.died_at[server])
        if server in world.frozen:
            since.append(world.frozen[server])
        world.died_at[server] = min(since)

    def kill_pulse(self, server: str, for_s: float) -> None:
        """Until somebody starts it again; its deadline lies in a file."""
        host = self.world.hosts[server]
        if host.booted and not host.pulse_down:
            self._falls_silent(server)
            host.pulse_down = True
            self.world.emit(Pulse(self.loop.now, server, False))
            self.world.changed()
            self.loop.call_later(for_s, self._start_pulse, server, host.boot, context=Context())

    def _start_pulse(self, server: str, boot: int) -> None:
        host = self.world.hosts[server]
        if host.pulse_down and host.boot == boot:
            host.pulse_down, host.pulse_up_since = False, self.loop.now
            self.world.emit(Pulse(self.loop.now, server, True))
            self.world.changed()

    async def _run_agent(self, server: str) -> None:
        world, host = self.world, self.world.hosts[server]
        rng = random.Random(self.loop.rng.getrandbits(64))
        clock = host.clock
        store = SimStore(world, server, clock, servers=self.names, watch_timing=WatchTiming())
        peers = SimPeers(world, server, clock, self.specs.timing)
        state = AgentState(
            me=server,
            keys=self.keys,
            clock=clock,
            store=store,
            peers=peers,
            machine=SimMachine(self, server),
            events=SimEvents(world, server),
            local_state=SimLocalState(host.disk, host.memory),
            rng=rng,
        )
        loops = AgentLoops(
            state,
            make_driver=lambda resource: SimDriver(world, server, resource, clock),
            read_resource=read_resource,
            specs=SimSpecs(self, server, store, clock),
            power=SimPower(world, server, clock, self.set_power),
            prober=SimProber(world, server, clock),
            version="simulated",
            on_specs=lambda specs: care.configure(specs),  # noqa: PLW0108 - it comes after
            take_sample=SimProbes(world, server, clock).sample,
        )
        care = SimCare(world, state, peers, loops.group_of, loops.adopted)
        self.agents[server] = loops
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(care.run())
                tasks.create_task(loops.run())
        except BaseExceptionGroup as group:
            self.violation = self.violation or _first(group)
            world.note("agent_failed", server=server, error=repr(_first(group)))

    # -- faults that are not power ---------------------------------------------------------------

    def freeze(self, server: str) -> None:
        """The whole machine stands still; what runs there stays, time goes on."""
        host = self.world.hosts[server]
        if host.powered and server not in self.world.frozen:
            self.world.frozen[server] = self.world.machines_at = self.loop.now
            self.loop.paused.update(host.incarnations.values())
            self.world.emit(Frozen(self.loop.now, server, True))
            self.world.changed()

    def unfreeze(self, server: str) -> None:
        if self.world.frozen.pop(server, None) is None:
            return
        host = self.world.hosts[server]
        self.world.machines_at = self.loop.now
        for name in self.names:
            for network in NETWORKS:
                self.world.healed[server, name, network] = self.loop.now
        for incarnation in host.incarnations.values():
            self.loop.resume(incarnation)
        host.resumed_at = self.loop.now
        # The agent may run before it hears from its pulse again.
        host.pulse_blind_until = self.loop.now + self.world.rng.random() * 0.06
        self.world.emit(Frozen(self.loop.now, server, False))
        self.world.changed()

    def cut(self, a: str, b: str, network: str) -> None:
        self.world.broken.setdefault((a, b, network), self.loop.now)
        self.world.changed()

    def heal(self, a: str, b: str, network: str) -> None:
        if self.world.broken.pop((a, b, network), None) is not None:
            self.world.healed[a, b, network] = self.loop.now
            self.world.changed()

    def cut_disk(self, server: str) -> None:
        self.cut(server, server, DISK)
        self.world.emit(Disk(self.loop.now, server, False))

    def heal_disk(self, server: str) -> None:
        self.heal(server, server, DISK)
        self.world.emit(Disk(self.loop.now, server, True))

    def set_unkillable(self, server: str, unkillable: bool) -> None:
        """What runs there hangs in the kernel: neither its stop nor a signal ends it."""
        host = self.world.hosts[server]
        if host.unkillable != unkillable:
            host.unkillable = unkillable
            self.world.emit(Unkillable(self.loop.now, server, unkillable))

    def paths(self) -> tuple[str, ...]:
        return (*NETWORKS, *(path_of_heartbeats(network) for network in NETWORKS))

    # -- people ----------------------------------------------------------------------------------

    def apply(self, server: str) -> None:
        """An administrator on this server applies the next specs."""
        self.applied += 1
        store = SimStore(self.world, server, SimClock(self.loop), servers=self.names)
        work = spec_texts.apply(self, store, self.applied)
        self.loop.spawn(f"apply-{self.applied}", work)

    async def apply_first(self) -> None:
        """The specs as of the beginning, before any server is on."""
        state = self.world.state
        await spec_texts.apply(self, MemoryStore(state, SimClock(self.loop)), 0)
        state.needs_leader = True

    def operate(
        self,
        kind: OperationKind,
        target: str,
        to: str | None = None,
        boot_id: str | None = None,
        for_s: float | None = None,
    ) -> str:
        """What an operator's command stores, as soon as the store takes it; the operation's id."""
        self._operations += 1
        name = f"{self._operations:026d}"
        record = Operation(
            id=name,
            kind=kind,
            target=target,
            to=to,
            boot_id=boot_id,
            for_s=for_s,
            who="sim",
            created_wall=self.loop.now,
        )
        self.world.note("operation", kind=kind.value, target=target, to=to)
        self.store(self.keys.operation(name), record.to_bytes())
        if kind is OperationKind.FENCE:
            self._switch_on_after(name, target.removeprefix("server/"))
        return name

    def _switch_on_after(self, operation: str, server: str) -> None:
        """Who has a server fenced switches it on again: the cluster leaves it off."""
        record = self.world.state.record(self.keys.operation(operation))
        if isinstance(record, Operation) and record.finished_wall is not None:
            self.set_power(server, True, "operator")
            return
        later = self.loop.call_later
        later(SWITCH_ON_S, self._switch_on_after, operation, server, context=Context())

    def remove(self, key: str) -> None:
        """Somebody deletes a key by hand."""
        self.world.state.commit(Transaction((), (Delete(key),)))

    def store(self, key: str, value: bytes) -> None:
        """At once, or when the store takes it: later ones may come first, as from people whose
        clocks differ. `unstored` says whose turn is still to come."""
        self.unstored.discard(key)
        try:
            self.world.state.commit(Transaction((), (Put(key, value),)))
        except StoreError:
            self.unstored.add(key)
            self.loop.call_later(0.5, self.store, key, value, context=Context())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The violation if there is one, else the first error."""
    found: list[BaseException] = []
    for error in group.exceptions:
        inner = _first(error) if isinstance(error, BaseExceptionGroup) else error
        found.append(inner)
    return next((e for e in found if isinstance(e, Violation)), found[0])
