"""What this server's pulse hears of the others."""

from typing import Protocol

from reconciler.decide.hearing import PathView, PeersView, PeerView

__all__ = ["Peers", "PathView", "PeerView", "PeersView"]


class Peers(Protocol):
    def view(self) -> PeersView:
        """The newest view; never blocks."""
        ...

    async def changed(self) -> None:
        """Returns at the next transition (suspect, silent, heard again, boot id, reports)."""
        ...

    def hold(self, wanted: bool) -> None:
        """Tell the pulse that something may run here, from now on or no more, that must not
        outlive the dead-man deadline; it is heard when `view().holds` says so."""
        ...

    def stretch(self, hold: str, until: float) -> None:
        """An `agent hold`: the pulse does not end what runs under `keep` before then (monotonic
        seconds; 0 ends it), although the agent may be away. The first end of each hold stands."""
        ...

    def report(self, *, store: str, proven_at: float | None) -> None:
        """Tell the pulse our store state and when the newest proven renewal was sent (monotonic
        seconds; None: nothing new is proven). Also the agent's sign of life."""
        ...
