"""Tells engines of mirrors that their other side is gone, as soon as the pulse hears nothing of its
server: a write that waits for a dead server need not wait for its network to find out.

A cut is a hint. Nothing is answered alone before the store's record says so, and a side that lives
connects again and gets what it missed.
"""

import asyncio
from contextlib import suppress

from reconciler.decide.circumstances import listed_servers
from reconciler.decide.copies import side_of
from reconciler.decide.hearing import PeersView
from reconciler.decide.snapshot import Snapshot
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.mirrors import Mirrors

REASON = "nothing is heard of its server any more"


class MirrorCuts:
    """`mirrors` are the engines of this server; None: there are none."""

    def __init__(self, state: AgentState, mirrors: Mirrors | None) -> None:
        self._state, self._mirrors = state, mirrors
        self._wake = state.new_wake()

    async def run(self) -> None:
        """For ever. Each silence of a server cuts once."""
        if self._mirrors is None:
            await asyncio.get_running_loop().create_future()
            return
        before: frozenset[str] = frozenset()
        while True:
            await self._wake.wait()
            self._wake.clear()
            silent = _silent(self._state.peers.view())
            new, before = silent - before, silent
            snapshot = self._state.snapshot() if new else None
            if snapshot is not None:
                names = mirrors_without(snapshot, silent, new)
                await asyncio.gather(*(self._cut(self._mirrors, name) for name in names))

    async def _cut(self, mirrors: Mirrors, name: str) -> None:
        # An engine that cannot, or that ends, hears it from its own network.
        with suppress(HostError):
            await mirrors.ask(name, {"do": "cut", "reason": REASON})


def _silent(view: PeersView) -> frozenset[str]:
    """Nobody while the pulse does not hear anyone for reasons of its own."""
    if view.paused or not view.pulse_alive:
        return frozenset()
    return frozenset(name for name, peer in view.peers.items() if peer.silent)


def mirrors_without(snapshot: Snapshot, silent: frozenset[str], new: frozenset[str]) -> list[str]:
    """Mirrors of this server whose other side has only silent servers, one of them newly so."""
    found = []
    for name, resource in sorted(snapshot.specs.resources.items()):
        mine = side_of(snapshot, resource, snapshot.me)
        if mine is None:
            continue
        others = {
            server
            for server in listed_servers(snapshot, resource.spec.group)
            if side_of(snapshot, resource, server) not in (mine, None)
        }
        if others & new and others <= silent:
            found.append(name)
    return found
