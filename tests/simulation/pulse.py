"""The pulse of one simulated server: what it hears, whether it stood still, and its dead-man.

`SimPeers` is the agent's end of it. The decision when to end everything is the product's own
(`reconciler.pulse.deadman`).
"""

import asyncio
from contextvars import copy_context

from reconciler.decide.hearing import PathView, PeersView, PeerView
from reconciler.pulse import deadman
from specs.cluster import Timing
from tests.simulation.ears import HEARTBEAT_S, MISSES, NETWORKS, NEVER
from tests.simulation.facts import Held
from tests.simulation.virtual_time import SimClock
from tests.simulation.world import World

LOOK_S = 0.5
SILENCE_S = HEARTBEAT_S * MISSES


class SimPeers:
    """`ports.peers.Peers`; the view is the same object until a heartbeat or a change."""

    def __init__(self, world: World, me: str, clock: SimClock, timing: Timing) -> None:
        self._world, self._me, self._clock, self._timing = world, me, clock, timing
        self._host = world.hosts[me]
        self._event = asyncio.Event()
        # Whoever cuts a link or the power, this server's own pulse notices.
        self._context = copy_context()
        self._view = PeersView(taken_at=float("-inf"))
        self._viewed: tuple[float, ...] | None = None
        self._now = -1, PathView(None, NEVER)
        world.version += 1
        world.listeners[me] = self._on_change

    def _on_change(self) -> None:
        for delay in (0.001, 2.2 * HEARTBEAT_S, SILENCE_S + 0.01, SILENCE_S + 0.06):
            self._world.loop.call_later(delay, self._event.set, context=self._context)

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
        if world.ears.is_live(sender, self._me):
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
        return PeerView(
            server=sender,
            paths=paths,
            heard_at=None if newest is None else self._clock.at(newest * HEARTBEAT_S),
            suspect=fewest >= 2,
            silent=fewest >= MISSES,
            boot_id=host.boot_id if newest is not None else None,
            sees_silent=world.ears.silent_for(sender) if fewest < 2 else frozenset(),
            store=host.store_word,
            agent_alive=True,
        )

    def view(self) -> PeersView:
        world, host, now = self._world, self._host, self._world.loop.now
        alive = not host.pulse_down and now >= max(host.pulse_blind_until, host.pulse_up_since)
        paused = now < host.resumed_at + SILENCE_S
        tick = world.ears.tick
        key = (tick, world.version, alive, paused)
        if self._viewed != key:
            # A pulse that is away, or blames nobody after a pause, told its last view before.
            peers = self._view.peers
            if alive and not paused:
                peers = {n: self._peer(n, tick) for n in world.names if n != self._me}
            self._view = PeersView(
                taken_at=self._clock.now(),
                peers=peers,
                pulse_alive=alive,
                paused=paused,
                stretch=host.stretch,
                stretched_until=host.stretched_until,
            )
            self._viewed = key
        return self._view

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()

    def stretch(self, hold: str, until: float) -> None:
        host, world = self._host, self._world
        if host.pulse_down:
            return
        first = host.stretched_until if hold == host.stretch else until
        host.stretch, host.stretched_until = hold, min(until, first)
        world.version += 1
        left = host.stretched_until - self._clock.now()
        world.emit(Held(world.loop.now, self._me, left))
        self._event.set()

    def report(self, *, store: str, proven_at: float | None) -> None:
        host = self._host
        if proven_at is not None:
            host.proof_at = max(host.proof_at, proven_at)
        if host.store_word != store:
            host.store_word = store
            self._world.version += 1


async def watch_dead_man(world: World, server: str, timing: Timing) -> None:
    """For ever: what the pulse process does when its server is alone and unproven."""
    host, clock, loop = world.hosts[server], world.hosts[server].clock, world.loop
    state = deadman.DeadManState()
    while True:
        await clock.sleep(LOOK_S)
        if host.pulse_down:
            continue
        knows = loop.now >= max(host.resumed_at, host.pulse_up_since) + SILENCE_S
        situation = deadman.Situation(
            now=clock.now(),
            deadline=timing.dead_man,
            proven_at=host.proof_at,
            hears_majority=world.ears.hears_majority(server) if knows else None,
            armed=bool(host.active),
            held_until=host.stretched_until,
        )
        state, *said = deadman.step(state, situation)
        if said[-1]:
            world.note("dead_man_fired", server=server)
            world.stop_everything(server, "dead-man")
