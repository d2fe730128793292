"""The simulated world: links, store, power, and what really runs where.

Checkers look only at this module's facts, never at what an agent believes.
"""

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, NoReturn

from reconciler.adapters.memory import FINE, Fate, MemoryState
from reconciler.ports.store import CommitResult, Transaction
from tests.simulation.virtual_time import SimClock, SimLoop

NETWORKS = ("private", "public")


class Violation(AssertionError):
    """An invariant of the product was broken."""


@dataclass(slots=True)
class Host:
    """One machine as it really is."""

    name: str
    boot: int = 0
    powered: bool = False
    incarnation: str = ""
    agent: int = 0
    pulse_up_since: float = 0.0
    active: dict[str, int] = field(default_factory=dict)
    disk: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    bmc: str = "ok"
    slow_drivers_s: float = 0.0
    failing_drivers: bool = False
    failing_starts: bool = False

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boot}"


class SimState(MemoryState):
    """The store's data; requests under way belong to the network, not to their sender."""

    def __init__(self, world: "World") -> None:
        self.world = world
        super().__init__(SimClock(world.loop), world.lease_faults())

    def spawn(self, work: Any) -> None:
        task = self.world.loop.create_task(work, context=Context())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None), context=Context())

    def commit(self, transaction: Transaction) -> CommitResult:
        result = super().commit(transaction)
        if result.succeeded:
            self.world.on_commit(transaction)
        return result


class World:
    """`broken` holds directed links that are down: (from, to, network). Frozen members and links
    together decide who reaches the store."""

    def __init__(self, loop: SimLoop, names: tuple[str, ...]) -> None:
        self.loop, self.names = loop, names
        self.rng = loop.rng
        self.hosts = {name: Host(name) for name in names}
        self.broken: dict[tuple[str, str, str], float] = {}
        self.healed: dict[tuple[str, str, str], float] = {}
        self.died_at: dict[str, float] = {}
        self.frozen: dict[str, float] = {}
        self.store_stall_until = 0.0
        self.store_trouble = 0.0
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.on_note: Callable[[str], None] = lambda _: None
        self.answering = True  # whether addresses of running resources answer a probe
        self.sick: set[tuple[str, str]] = set()  # (server, monitor) whose probes fail
        self.slow_keys: dict[str, float] = {}  # commits guarded by these keys travel so long
        self.commit_checks: list[Callable[[Transaction], None]] = []
        self.state = SimState(self)
        self.listeners: dict[str, Callable[[], None]] = {}
        self.version = 0  # of everything that a pulse can hear, but for the time

    # -- facts -------------------------------------------------------------------------------

    def note(self, what: str, **fields: object) -> None:
        text = " ".join(f"{k}={v}" for k, v in fields.items())
        self.trace.append(f"{self.loop.now:10.4f} {what} {text}".rstrip())
        self.on_note(self.trace[-1])

    def violate(self, what: str) -> NoReturn:
        """Write it down before it is raised: whoever is running may swallow an exception."""
        self.violations.append(what)
        self.note(f"VIOLATION {what}")
        raise Violation(what)

    def start_resource(self, server: str, group: str, resource: str, epoch: int) -> None:
        host = self.hosts[server]
        for other in self.hosts.values():
            if other is not host and resource in other.active:
                self.violate(
                    f"no_double_active: {resource} starts on {server} at epoch {epoch} while "
                    f"{other.name} runs it at epoch {other.active[resource]}"
                )
        high = self.hosts[server].disk.setdefault(("high", resource), 0)
        if epoch < high:
            self.violate(f"epoch_monotonic: {resource} starts at {epoch} after {high}")
        for each in self.hosts.values():
            each.disk[("high", resource)] = max(each.disk.get(("high", resource), 0), epoch)
        host.active[resource] = epoch
        self.note("up", server=server, group=group, resource=resource, epoch=epoch)

    def stop_resource(self, server: str, resource: str) -> None:
        if self.hosts[server].active.pop(resource, None) is not None:
            self.note("down", server=server, resource=resource)

    def on_commit(self, transaction: Transaction) -> None:
        for check in self.commit_checks:
            check(transaction)

    # -- network -----------------------------------------------------------------------------

    def link_up(self, a: str, b: str, network: str) -> bool:
        return (a, b, network) not in self.broken

    def reaches(self, a: str, b: str) -> bool:
        """Request and answer both get through on at least one network."""
        return any(
            self.link_up(a, b, network) and self.link_up(b, a, network) for network in NETWORKS
        )

    def store_reachable(self, server: str) -> bool:
        """A majority of members that live, reach each other and are reached from here."""
        if self.loop.now < self.store_stall_until:
            return False
        alive = [n for n in self.names if self.hosts[n].powered and n not in self.frozen]
        for leader in alive:
            followers = [n for n in alive if n == leader or self.reaches(leader, n)]
            here = server == leader or self.reaches(server, leader)
            if here and len(followers) * 2 > len(self.names):
                return True
        return False

    def changed(self) -> None:
        """Links or power changed: every pulse looks again when a threshold may be passed."""
        self.version += 1
        for listener in list(self.listeners.values()):
            listener()

    # -- store faults ------------------------------------------------------------------------

    def client_faults(self, server: str) -> "ClientFaults":
        return ClientFaults(self, server)

    def lease_faults(self) -> "ClientFaults":
        return ClientFaults(self, "")


class ClientFaults:
    """The store as seen from one server (`adapters.memory.Faults`)."""

    def __init__(self, world: World, server: str) -> None:
        self._world, self._server = world, server

    def fate(self, operation: str, key: str) -> Fate:
        world, rng = self._world, self._world.rng
        if key in world.slow_keys:
            world.note("slow request", key=key)
            return Fate(request_s=world.slow_keys[key])
        if not world.store_reachable(self._server):
            return Fate(lost=rng.random() < 0.7, request_s=rng.random() * 5, reply_lost=True)
        if rng.random() >= world.store_trouble:
            return Fate(request_s=0.001 + rng.random() * 0.003) if operation else FINE
        return Fate(
            request_s=rng.random() * rng.choice((0.05, 1.0, 8.0)),
            lost=rng.random() < 0.2,
            reply_s=rng.random() * 0.5,
            reply_lost=rng.random() < 0.3,
        )

    def watch_delay_s(self, prefix: str) -> float:
        world = self._world
        if world.rng.random() < world.store_trouble:
            return world.rng.random() * world.rng.choice((0.1, 3.0))
        return 0.001

    def watch_cut(self, prefix: str) -> str | None:
        return None if self._world.store_reachable(self._server) else "no leader"

    def member_reachable(self, server: str) -> bool:
        world = self._world
        if not world.hosts[server].powered or server in world.frozen:
            return False
        return server == self._server or world.reaches(self._server, server)

    def lease_lag_s(self, lease: int) -> float:
        return self._world.rng.random() * 2
