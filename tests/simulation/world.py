"""The simulated world: links, machines, and what really runs where.

Everything that happens is emitted as a fact; invariants look at nothing else, least of all at what
an agent believes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tests.simulation.ears import NETWORKS, Ears, path_of_heartbeats
from tests.simulation.facts import Down, Fact, Hears, Up
from tests.simulation.hardware import Hardware
from tests.simulation.invariants import ALL
from tests.simulation.invariants.base import Invariant
from tests.simulation.quorum import WideEars
from tests.simulation.store import SimState, StorePaths
from tests.simulation.variants import PLAIN, Disk, Variant
from tests.simulation.virtual_time import SimClock, SimLoop

__all__ = ["NETWORKS", "Host", "Violation", "World", "path_of_heartbeats"]


class Violation(AssertionError):
    """An invariant of the product was broken."""


@dataclass(slots=True)
class Running:
    """A resource that is active: of which group, at which epoch and place in the order."""

    group: str
    epoch: int
    level: int


@dataclass(slots=True)
class Host:
    """One machine as it really is. Times are the world's."""

    name: str
    clock: SimClock
    boot: int = 0
    powered: bool = False
    booted: bool = False
    agent: int = 0
    agent_since: float = 0.0
    incarnations: dict[str, str] = field(default_factory=dict)  # agent, pulse, bios: who runs here
    pulse_up_since: float = 0.0
    pulse_down: bool = False
    pulse_blind_until: float = 0.0  # the agent has not heard its pulse since the last freeze
    resumed_at: float = float("-inf")
    proof_at: float = float("-inf")  # what the agent told the pulse, on this host's clock
    store_word: str = "unknown"
    active: dict[str, Running] = field(default_factory=dict)
    disk: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    bmc: str = "ok"
    slow_drivers_s: float = 0.0
    failing_drivers: bool = False
    failing_starts: bool = False
    failing_stops: bool = False
    unclear: bool = False  # observations say UNKNOWN
    hung_drivers: bool = False  # what is asked of them never ends
    unkillable: bool = False  # no signal ends what runs here, and no driver either
    pulse: object = None  # the process; see `pulse.pulse_of`
    hardware: Hardware | None = None  # the watchdog, once it was opened

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boot}"


class World:
    """`broken` holds directed links that are down: (from, to, path). A path is a network, or its
    heartbeats alone."""

    def __init__(self, loop: SimLoop, names: tuple[str, ...], variant: Variant = PLAIN) -> None:
        self.loop, self.names, self.variant = loop, names, variant
        self.disk = Disk()
        self.set_power: Callable[[str, bool, str], None] = lambda *_: None
        self.rng = loop.rng
        self.hosts = {name: Host(name, SimClock(loop)) for name in names}
        self.broken: dict[tuple[str, str, str], float] = {}
        self.healed: dict[tuple[str, str, str], float] = {}
        self.died_at: dict[str, float] = {}
        self.clock_rates: dict[str, float] = {}  # of the next boots, where a story needs one
        self.frozen: dict[str, float] = {}
        self.store_stall_until = 0.0
        self.store_trouble = 0.0
        self.store_trouble_at = 0.0  # when it last began or ended
        self.changed_at = 0.0  # of links, machines and pulses
        self.lag: dict[str, float] = {}  # servers whose watches are behind by so much
        self.calm = False
        self.restored = False  # the store comes out of a backup in this run
        self.violations: list[str] = []
        self.on_note: Callable[[str], None] | None = None
        self.answering = True  # whether addresses of running resources answer a probe
        self.sick: set[tuple[str, str]] = set()  # (server, monitor) whose probes fail
        self.slow_replies: dict[str, float] = {}  # operations whose answers travel so long
        self.machines_at = 0.0  # when a machine last began or ceased to stand
        self.slow_keys: dict[str, float] = {}  # commits guarded by these keys travel so long
        self.version = 0  # of everything that a pulse can hear, but for the time
        self._notes: list[tuple[float, str, dict[str, object]]] = []
        self._lines: list[str] = []
        self.invariants = {kind.name: kind() for kind in ALL}
        self._handlers: dict[type[Fact], list[Any]] = {}
        for invariant in self.invariants.values():
            self.watch(invariant)
        self._drift: dict[tuple[str, str], list[Any]] = {}
        self._majority: dict[str, bool] = {}
        self.listeners: dict[str, Callable[[], None]] = {}
        self.paths = StorePaths(self)
        self.ears = WideEars(self) if variant.disk or variant.serial else Ears(self)
        self.state = SimState(self)

    # -- facts -------------------------------------------------------------------------------

    def watch(self, invariant: Invariant) -> None:
        """From now on every fact goes to it, too."""
        for kind, handler in invariant.handlers().items():
            self._handlers.setdefault(kind, []).append((invariant.name, handler))

    @property
    def trace(self) -> list[str]:
        for at, what, fields in self._notes[len(self._lines) :]:
            self._lines.append(_line(at, what, fields))
        return self._lines

    def note(self, what: str, **fields: object) -> None:
        self._notes.append((self.loop.now, what, fields))
        if self.on_note is not None:
            self.on_note(_line(self.loop.now, what, fields))

    def emit(self, fact: Fact) -> None:
        """Tell every invariant; the first that is broken ends the run."""
        for name, handler in self._handlers.get(type(fact), ()):
            broken = handler(fact)
            if broken:
                self.violate(f"{name}: {broken}")

    def violate(self, what: str) -> NoReturn:
        """Write it down before it is raised: whoever is running may swallow an exception."""
        self.violations.append(what)
        self.note(f"VIOLATION {what}")
        raise Violation(what)

    def start_resource(
        self,
        server: str,
        group: str,
        resource: str,
        epoch: int,
        level: int = 0,
        began: float | None = None,
    ) -> None:
        self.hosts[server].active[resource] = Running(group, epoch, level)
        self.note("up", server=server, group=group, resource=resource, epoch=epoch)
        self._wake_watchers(server, resource)
        self.emit(Up(self.loop.now, server, group, resource, epoch, level, began))

    def stop_resource(self, server: str, resource: str, by: str = "driver") -> None:
        ended = self.hosts[server].active.pop(resource, None)
        if ended is not None:
            self.note("down", server=server, resource=resource, by=by)
            self._wake_watchers(server, resource)
            self.emit(Down(self.loop.now, server, ended.group, resource, ended.level, by))

    def stop_everything(self, server: str, by: str) -> None:
        for resource in sorted(self.hosts[server].active):
            self.stop_resource(server, resource, by)

    def watch_resource(self, server: str, resource: str) -> Any:
        """A future that is done when this resource starts or ends there."""
        future = self.loop.create_future()
        self._drift.setdefault((server, resource), []).append(future)
        return future

    def _wake_watchers(self, server: str, resource: str) -> None:
        for future in self._drift.pop((server, resource), ()):
            if not future.done():
                future.set_result(None)

    # -- network -----------------------------------------------------------------------------

    def link_up(self, a: str, b: str, network: str) -> bool:
        return (a, b, network) not in self.broken

    def reaches(self, a: str, b: str) -> bool:
        """Request and answer both get through on at least one network."""
        return any(
            self.link_up(a, b, network) and self.link_up(b, a, network) for network in NETWORKS
        )

    def stands(self, server: str) -> bool:
        """Powered, booted, not frozen."""
        return self.hosts[server].booted and server not in self.frozen

    def changed(self) -> None:
        """Links or power changed: every pulse looks again when a threshold may be passed."""
        self.version += 1
        self.changed_at = self.loop.now
        self.paths.changed()
        for listener in list(self.listeners.values()):
            listener()

    def tell_majorities(self) -> None:
        """Emit who hears a majority, where that changed; called with each beat of the story."""
        for name in self.names:
            hears = self.ears.hears_majority(name)
            if self._majority.get(name, True) != hears:
                self._majority[name] = hears
                self.emit(Hears(self.loop.now, name, hears))


def _line(at: float, what: str, fields: dict[str, object]) -> str:
    text = " ".join(f"{k}={v}" for k, v in fields.items())
    return f"{at:10.4f} {what} {text}".rstrip()
