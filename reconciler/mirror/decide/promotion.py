"""Whether a side may serve: its own header against the record `run/mirrors/<resource>`.

Called by the agent before it commits a new generation, and by the simulator.
"""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.mirror.header import Header

STORE_COUNTER_BITS = 48
"""What is above them in an epoch is the generation of the store."""


@dataclass(frozen=True, slots=True)
class Current:
    """The record's content: `servers` hold all acknowledged data, of this `generation`."""

    servers: tuple[str, ...]
    generation: str
    epoch: int


Change = Callable[[Current | None], Current | None]
"""What becomes of the record; None when it must stay as it is."""


def why_not(
    current: Current | None, server: str, header: Header, boot: str, epoch: int = 0
) -> str | None:
    """None if the side may be promoted at `epoch` without losing acknowledged data, else the
    reason. A record from before the store was restored from a backup says nothing."""
    if header.isolated:
        return "this side is isolated as a snapshot"
    if not header.consistent:
        return "this side is the unfinished target of a copy"
    if current is None:
        return None if header.fresh else "no record says which side of the mirror is current"
    if current.epoch >> STORE_COUNTER_BITS < epoch >> STORE_COUNTER_BITS:
        return "who has all data is not settled since the store was restored from a backup"
    if server not in current.servers:
        return f"only {' and '.join(current.servers)} has all acknowledged data"
    if current.generation not in (header.current, *header.pending):
        return "this side holds another generation of data than the one that is current"
    if order_is_lost(header, boot):
        return "this side lost power while it followed an asynchronous mirror"
    return None


def order_is_lost(header: Header, boot: str) -> bool:
    """This side followed an asynchronous mirror in an earlier boot that did not end in order: it
    holds some of the last writes without those before."""
    followed = header.order_kept and not header.primary
    return followed and not header.clean and header.boot != boot


def alone(current: Current | None, server: str, epoch: int, generation: str) -> Current | None:
    """The record that says that only `server` is current from now on; None when it may not.

    `current` may be this very record already (an answer that was lost)."""
    if current is not None and (server not in current.servers or current.epoch > epoch):
        return None
    return Current((server,), generation, epoch)


def both(
    current: Current | None, server: str, peer: str, epoch: int, generation: str
) -> Current | None:
    """The record that says that the peer has caught up; None when `generation` is over."""
    if current is None or server not in current.servers:
        return None
    if (current.epoch, current.generation) != (epoch, generation):
        return None
    return Current(tuple(sorted((server, peer))), generation, epoch)
