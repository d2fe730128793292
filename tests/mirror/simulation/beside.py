"""What happens beside the streams: faults of a side, the second server of a side with a shared disk
(a hybrid disk), and what operators ask of the engines. Called by `play`; as in `engine`, `commands`
and `opening`."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from reconciler.mirror import checking, copying
from reconciler.mirror.checking import Checking
from reconciler.mirror.side import Stage
from tests.mirror.simulation.node import Node
from tests.mirror.simulation.oracle import Violation

Action = tuple[Callable[[], None], float]


@contextmanager
def small_parts() -> Iterator[None]:
    """A disk of some KiB is copied and compared in several parts, too."""
    before = copying.CHUNK_BLOCKS, copying.WINDOW, copying.SMALL, checking.CHUNK
    copying.CHUNK_BLOCKS, copying.WINDOW, copying.SMALL, checking.CHUNK = 2, 6 << 10, 3, 6 << 10
    try:
        yield
    finally:
        copying.CHUNK_BLOCKS, copying.WINDOW, copying.SMALL, checking.CHUNK = before


class Cluster(Protocol):
    """What is needed of the play."""

    rng: random.Random
    trace: list[str]
    owner: Node
    epoch: int

    def _release(self, node: Node) -> bool: ...

    def _guarded(self, node: Node, action: Callable[[], None]) -> None: ...


def actions(play: Cluster, node: Node, roughness: float) -> list[Action]:
    found: list[Action] = []
    if len(node.servers) > 1:
        rough = 1.0 if play.owner.in_sync else roughness
        found.append((lambda: _hand_over(play, node), 0.4 * rough))
    if node.up and node.primary is not None:
        found.append((lambda: play._guarded(node, lambda: _compare(node)), 0.4))
        found.append((lambda: play._guarded(node, lambda: _copy_all(play, node)), 0.05 * roughness))
    elif node.up:
        weight = 1.0 if node.disk is not None and node.header().isolated else 0.05 * roughness
        found.append((lambda: play._guarded(node, lambda: _isolate(play, node)), weight))
    return found


def fault(play: Cluster, node: Node) -> None:
    luck = play.rng.random()
    if not node.up:
        return
    if luck < 0.35:
        node.die(power=True)
    elif luck < 0.65:
        node.die(power=False)
    elif luck < 0.9:
        which = play.rng.choice((node.data, node.meta, node.meta))
        which.fuse = play.rng.randrange(1, 8)
    elif luck < 0.93:
        node.data.broken = True
        play.trace.append(f"{node.name}: disk breaks")


def _hand_over(play: Cluster, node: Node) -> None:
    """Another server takes the role: the last one was proven to be off, or has ended its engine and
    has nothing of the disk in its caches any more. It has nothing but what is on the disk."""
    orderly = play.rng.random() < 0.5
    play.trace.append(f"{node.name}: another server, {'in order' if orderly else 'after a fence'}")
    if orderly:
        play._release(node)
        play._guarded(node, lambda: let_go(node))
        node.die(power=False)
        node.data.lose_power()  # what is still in the last one's caches nobody sees
        node.meta.lose_power()
    else:
        node.die(power=True)
    node.next_server()
    if node is play.owner:
        play.epoch += 1


def let_go(node: Node) -> None:
    try:
        node.data.flush()
        node.meta.flush()
    except OSError:
        return  # a broken disk: nothing more comes of it


def _copy_all(play: Cluster, node: Node) -> None:
    primary = node.primary
    if primary is None or primary.over or primary.suspended or node.disk is None:
        return
    play.trace.append(f"{node.name}: a copy of everything")
    primary.cut("a copy of everything was asked for")
    node.disk.metadata.dirty.fill()
    node.disk.metadata.save_bitmap()


def _compare(node: Node) -> None:
    """While it is in use. Two sides that are in sync never differ."""
    primary = node.primary
    if primary is None or primary.over or primary.suspended:
        return
    if node.checking is None or node.checking.primary is not primary or node.checking.ended:
        if primary.stage is Stage.ALONE:
            return
        node.checking = Checking(primary)
    node.checking.pump(primary.acked_seq)
    if node.checking.different:
        raise Violation(f"in sync, and different at {node.checking.different}")


def _isolate(play: Cluster, node: Node) -> None:
    """For a while: the side stands still as a snapshot. Ends with the next call."""
    assert node.disk is not None
    metadata = node.disk.metadata
    if metadata.header.isolated:
        play.trace.append(f"{node.name}: rejoins")
        metadata.save(isolated=False)
    elif metadata.header.consistent and node is not play.owner and node.activation is None:
        play.trace.append(f"{node.name}: isolated")
        node.close_session()
        try:
            node.data.flush()
        except OSError:
            return
        metadata.save(isolated=True)


def rejoin(play: Cluster, node: Node) -> None:
    """At the end of all faults."""
    if node.up and node.disk is not None and node.header().isolated:
        play._guarded(node, lambda: node.disk.metadata.save(isolated=False))  # type: ignore[union-attr]
