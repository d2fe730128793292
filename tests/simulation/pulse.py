"""The pulse of one simulated server: what it hears, whether it stood still, its dead-man, and the
feeding of its watchdog.

`SimPeers` is the agent's end of it. When everything must end, and whether the watchdog is fed, is
decided by the product's own `DeadMan` and `Feeding`.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from typing import Any

from reconciler.adapters.peers.view import PulseStatus
from reconciler.decide.hearing import PathView, PeersView, PeerView
from reconciler.pulse.emergency import Outcome
from reconciler.pulse.feeding import Feeding
from reconciler.pulse.watch import DeadMan
from specs.cluster import Timing
from tests.simulation.ears import HEARTBEAT_S, MISSES, NETWORKS, NEVER
from tests.simulation.facts import Deadline, Held
from tests.simulation.hardware import SimWatchdog
from tests.simulation.quorum import EVERY_S, SimPaths, WideEars
from tests.simulation.variants import DISK
from tests.simulation.virtual_time import SimClock
from tests.simulation.world import Host, World

LOOK_S = 0.5
# With a watchdog: as often as it is fed.
OFTEN_S = 0.2
SILENCE_S = HEARTBEAT_S * MISSES
REARM_S = 2.0


def silence_s(world: World) -> float:
    """The slowest path's detection time."""
    return EVERY_S[DISK] * MISSES if world.variant.disk else SILENCE_S


class SimDeadMan(DeadMan):
    """Its file is `kept`; what it ends is the world's."""

    def __init__(self, world: World, host: Host, kept: dict[str, Any], now: float) -> None:
        self._kept, self._world, self._host = kept, world, host
        super().__init__(None, now, end=self._end_them, seen_ended=self._is_gone)

    def _save(self, now: float) -> None:
        self._saved_at = now
        self._kept["file"] = self._content()

    def _load(self, now: float) -> None:
        if "file" in self._kept:
            self._inherited = True
            self._inherit(self._kept["file"], now)

    def _end_them(self, entries: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        found = []
        for entry in entries:
            if not self._host.unkillable and not self._is_gone(entry):
                self._world.stop_resource(self._host.name, _resource(entry)[0], "dead-man")
            found.append(Outcome(entry["path"], "" if self._is_gone(entry) else "it stays"))
        return found

    def _is_gone(self, entry: Mapping[str, Any]) -> bool:
        name, epoch = _resource(entry)
        running = self._host.active.get(name)
        return running is None or running.epoch != epoch


def _resource(entry: Mapping[str, Any]) -> tuple[str, int]:
    """Name and epoch; see `care`."""
    name, _, epoch = str(entry["path"]).split("/")[1].partition("@")
    return name, int(epoch)


class SimPulse:
    """One process; `began` tells it from the next one of the same boot."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host = world, host
        self.began = host.pulse_up_since
        self._kept: dict[str, Any] = host.memory.setdefault("pulse", {})
        self.dead_man = SimDeadMan(world, host, self._kept, host.clock.now())
        self.dead_man.bind(host.boot_id)
        self.watchdog = SimWatchdog(world, host.name)
        self.paths = SimPaths(world, host.name)
        watchdog: Any = self.watchdog
        paths: Any = self.paths
        self.feeding = Feeding(self.dead_man, watchdog, paths, self._log)
        self.feeding.boot_id = host.boot_id

    def _log(self, event: str, **fields: Any) -> None:
        self._world.note(event, server=self._host.name, **fields)

    @property
    def deadline(self) -> float:
        """0 until it was ever configured in this boot."""
        return float(self._kept.get("deadline", 0.0))

    @deadline.setter
    def deadline(self, seconds: float) -> None:
        if seconds != self.deadline:
            self._kept["deadline"] = seconds
            self._world.emit(Deadline(self._world.loop.now, self._host.name, seconds))

    def tick(self) -> None:
        host, world = self._host, self._world
        now = host.clock.now()
        self.paths.look(now)
        if not self.deadline:
            return
        knows = world.loop.now >= max(host.resumed_at, host.pulse_up_since) + silence_s(world)
        majority = world.ears.hears_majority(host.name) if knows else None
        if self.dead_man.judge(now, self.deadline, majority):
            world.note("dead_man_fired", server=host.name)
        self.feeding.feed(now)


def pulse_of(world: World, server: str) -> SimPulse | None:
    """The process that runs there now."""
    host = world.hosts[server]
    if host.pulse_down or not host.booted:
        return None
    if not isinstance(host.pulse, SimPulse) or host.pulse.began != host.pulse_up_since:
        host.pulse = SimPulse(world, host)
    return host.pulse


async def run_pulse(world: World, server: str) -> None:
    """For ever: what the pulse process does by itself."""
    clock = world.hosts[server].clock
    look_s = OFTEN_S if world.variant.watchdog_s else LOOK_S
    while True:
        await clock.sleep(look_s)
        pulse = pulse_of(world, server)
        if pulse is not None:
            pulse.tick()


class SimPeers:
    """`ports.peers.Peers`; the view is the same object until a heartbeat or a change. A new pulse
    is told everything again."""

    def __init__(self, world: World, me: str, clock: SimClock, timing: Timing) -> None:
        self._world, self._me, self._clock, self._timing = world, me, clock, timing
        self._host = world.hosts[me]
        self._event = asyncio.Event()
        # Whoever cuts a link or the power, this server's own pulse notices.
        self._context = copy_context()
        self._view = PeersView(taken_at=float("-inf"))
        self._viewed: tuple[object, ...] | None = None
        self._now = -1, PathView(None, NEVER)
        self._pulse: SimPulse | None = None
        self._deadline: float | None = None
        self._hold: bool | None = None
        self._entries: list[dict[str, Any]] | None = None
        self._watchdog: tuple[int, float, float] | None = None
        self._armed_as: tuple[float, float] | None = None
        self._armed_at = float("-inf")
        self._proven_at: float | None = None
        ears = world.ears
        self._beside = ears if isinstance(ears, WideEars) else None
        world.version += 1
        world.listeners[me] = self._on_change

    def _on_change(self) -> None:
        silence = silence_s(self._world)
        for delay in (0.001, silence * 0.55, silence + 0.01, silence + 0.06):
            self._world.loop.call_later(delay, self._event.set, context=self._context)
        if self._beside:
            for delay in (SILENCE_S + 0.01, 1.3 * silence):
                self._world.loop.call_later(delay, self._event.set, context=self._context)

    # -- what is heard ---------------------------------------------------------------------------

    def _path(self, at: int | None, tick: int) -> PathView:
        """The same for all that was heard right now: most of it is."""
        if at is None:
            return PathView(None, NEVER)
        if at != tick:
            return PathView(self._clock.at(at * HEARTBEAT_S), tick - at)
        if self._now[0] != tick:
            self._now = tick, PathView(self._clock.at(tick * HEARTBEAT_S), 0)
        return self._now[1]

    def _peer(self, sender: str, tick: int) -> PeerView:
        world, host = self._world, self._world.hosts[sender]
        if self._beside is None and world.ears.is_live(sender, self._me):
            # As below, for nearly all peers at nearly all times.
            now = self._path(tick, tick)
            return PeerView(
                server=sender,
                paths=dict.fromkeys(NETWORKS, now),
                heard_at=now.heard_at,
                suspect=False,
                silent=False,
                boot_id=host.boot_id,
                sees_silent=world.ears.silent_for(sender),
                store=host.store_word,
                agent_alive=True,
            )
        times = world.ears.heard(sender, self._me)
        paths = {network: self._path(at, tick) for network, at in zip(NETWORKS, times, strict=True)}
        newest = max((at for at in times if at is not None), default=None)
        fewest = NEVER if newest is None else tick - newest
        heard_at = None if newest is None else self._clock.at(newest * HEARTBEAT_S)
        for path, (at, missed) in self._others(sender):
            paths[path] = PathView(None if at is None else self._clock.at(at), missed)
            fewest = min(fewest, missed)
            if at is not None:
                heard_at = max(self._clock.at(at), heard_at or float("-inf"))
        return PeerView(
            server=sender,
            paths=paths,
            heard_at=heard_at,
            suspect=fewest >= 2,
            silent=fewest >= MISSES,
            boot_id=host.boot_id if heard_at is not None else None,
            sees_silent=world.ears.silent_for(sender) if fewest < 2 else frozenset(),
            store=host.store_word,
            agent_alive=True,
        )

    def _others(self, sender: str) -> list[tuple[str, tuple[float | None, int]]]:
        return list(self._beside.beside(sender, self._me).items()) if self._beside else []

    def view(self) -> PeersView:
        world, host, now = self._world, self._host, self._world.loop.now
        pulse = self._connected()
        alive = pulse is not None and now >= max(host.pulse_blind_until, host.pulse_up_since)
        paused = now < host.resumed_at + silence_s(world)
        tick = world.ears.tick
        key = (tick, world.version, alive, paused, pulse, self._said(pulse))
        if self._viewed != key:
            # A pulse that is away, or blames nobody after a pause, told its last view before.
            peers = self._view.peers
            if alive and not paused:
                peers = {n: self._peer(n, tick) for n in world.names if n != self._me}
            dead_man_s, watchdog_s, holds, condemned, proven_at, stretch, until = self._said(pulse)
            self._view = PeersView(
                taken_at=self._clock.now(),
                peers=peers,
                pulse_alive=alive,
                paused=paused,
                dead_man_s=dead_man_s,
                proven_at=proven_at,
                watchdog_s=watchdog_s,
                holds=holds,
                condemned=condemned,
                stretch=stretch,
                stretched_until=until,
            )
            self._viewed = key
            self._rearm(watchdog_s)
        return self._view

    def _said(
        self, pulse: SimPulse | None
    ) -> tuple[float, float, bool, bool, float | None, str, float]:
        """What the pulse says of itself: its last words while it is away."""
        if pulse is None:
            seen = self._view
            return (
                seen.dead_man_s,
                seen.watchdog_s,
                seen.holds,
                seen.condemned,
                seen.proven_at,
                seen.stretch,
                seen.stretched_until,
            )
        man = pulse.dead_man
        return (
            pulse.deadline,
            pulse.watchdog.timeout,
            man._hold,
            man.condemned,
            man._proven_at,
            man._stretch,
            man._stretched_until,
        )

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()

    # -- what it is told -------------------------------------------------------------------------

    def _connected(self) -> SimPulse | None:
        """The pulse there is, in the order in which `PulsePeers` tells a new one everything."""
        pulse = pulse_of(self._world, self._me)
        if pulse is self._pulse or pulse is None:
            return pulse
        self._pulse, self._armed_as = pulse, None
        self._send_watchdog(pulse)
        if self._deadline is not None:
            pulse.deadline = self._deadline
        if self._hold is not None:
            pulse.dead_man.hold(self._hold, self._clock.now())
        self._prove(pulse)
        if self._entries is not None:
            pulse.dead_man.register(self._entries, self._clock.now())
        self._event.set()
        return pulse

    def configure(self, deadline: float) -> None:
        self._deadline = deadline
        if (pulse := self._connected()) is not None:
            pulse.deadline = deadline

    def hold(self, wanted: bool) -> None:
        self._hold = wanted
        if (pulse := self._connected()) is not None:
            pulse.dead_man.hold(wanted, self._clock.now())
            self._event.set()

    def register(self, entries: Sequence[dict[str, Any]]) -> None:
        self._entries = list(entries)
        if (pulse := self._connected()) is not None:
            pulse.dead_man.register(self._entries, self._clock.now())

    def arm(self, descriptor: int, timeout_s: float, stall_s: float = 0.0) -> None:
        self._watchdog = descriptor, timeout_s, stall_s
        if (pulse := self._connected()) is not None:
            self._send_watchdog(pulse)

    def _send_watchdog(self, pulse: SimPulse) -> None:
        if self._watchdog is None:
            return
        descriptor, timeout, stall = self._watchdog
        self._armed_at = self._clock.now()
        try:
            message = {"timeout": timeout, "stall": stall}
            said = pulse.feeding.arm(message, [descriptor], self._armed_at)
        except (ValueError, OSError) as error:
            self._world.note("pulse_refused", server=self._me, reason=str(error))
            return
        self._armed_as = (timeout, float(said["timeout"])) if said["settled"] else None
        self._event.set()

    def _rearm(self, armed_s: float) -> None:
        """It was refused, or could not be set yet."""
        if self._watchdog is None or self._pulse is None:
            return
        wanted = self._watchdog[1]
        otherwise = armed_s != math.ceil(wanted) and (wanted, armed_s) != self._armed_as
        if otherwise and self._clock.now() - self._armed_at > REARM_S:
            self._send_watchdog(self._pulse)

    def status(self) -> PulseStatus:
        pulse = self._connected()
        return PulseStatus(pid=1, watchdog_s=float(pulse.watchdog.timeout) if pulse else 0.0)

    def stretch(self, hold: str, until: float) -> None:
        pulse, world = self._connected(), self._world
        if pulse is None:
            return
        pulse.dead_man.stretch(hold, until, self._clock.now())
        left = pulse.dead_man._stretched_until - self._clock.now()
        world.emit(Held(world.loop.now, self._me, left))
        self._event.set()

    def report(self, *, store: str, proven_at: float | None) -> None:
        host = self._host
        if proven_at is not None:
            host.proof_at = max(host.proof_at, proven_at)
            self._proven_at = proven_at
        if (pulse := self._connected()) is not None:
            self._prove(pulse)
        if host.store_word != store:
            host.store_word = store
            self._world.version += 1

    def _prove(self, pulse: SimPulse) -> None:
        if self._proven_at is not None:
            ttl = self._timing.session_ttl
            pulse.dead_man.prove(self._proven_at + ttl, ttl, self._clock.now())
